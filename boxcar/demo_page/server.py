"""Serves the page to this computer only. It reads only the files that `site.collect` lists, and writes nothing."""

import os
import re
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import unquote

from boxcar.demo_page.site import Site, collect
from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import EXPORT
from boxcar.sync.mirror import Mirror

HOST = "127.0.0.1"

_HEADERS = {
    # A model that was exported again must replace the cached one.
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    # WebAssembly's threads need a page that is isolated by these headers.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_OWN_NAME = re.compile(rf"({re.escape(HOST)}|localhost)(:\d+)?")

# The system's own table may lack these, or have types that browsers refuse.
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
}


def serve(run: str, port: int, say: Callable[[str], None] = lambda sentence: None) -> None:
    """Serves a page with a run's TensorFlow.js models until Ctrl-C.

    Args:
        run: the run's folder (URI).
        port: a port of 127.0.0.1; 0 for any free one.
        say: called with the page's address when it can be opened.

    Raises:
        BoxcarError: 64 if the run has no TensorFlow.js model, 65 if its files were changed, 69 if TensorFlow.js is not
            installed or the port is in use.
        KeyboardInterrupt: on Ctrl-C.
    """
    place = Mirror(run)
    place.below(EXPORT).fetch()
    site = collect(place.folder)
    try:
        server = _Server(port, site)
    except OSError as error:
        # Not the error's own text, which repeats the address if the port is in use.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"Port {port} of {HOST} cannot be used: {reason}.",
            "Choose another with --port. 0 uses any free port.",
        ) from error
    with server:
        say(f"The page is at http://{HOST}:{server.server_address[1]}/ until Ctrl-C.")
        server.serve_forever()


class _Server(ThreadingTCPServer):
    """One thread per connection; none of them delays the exit."""

    allow_reuse_address = True  # a port that was just closed can be used
    daemon_threads = True

    def __init__(self, port: int, site: Site) -> None:
        self.site = site
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores a browser that closed its connection; anything else is a defect and is printed."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Boxcar"
    sys_version = ""
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"
    server: _Server

    def do_GET(self) -> None:
        content = self._content()
        if content is not None:
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self._content()

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing, so that the page's address stays visible in the terminal."""

    def _content(self) -> bytes | None:
        """Sends the headers of the content at the address and returns it; None if an error was sent instead."""
        # Under another host name for this address, another site's page could read a model through its visitor's browser.
        if not _OWN_NAME.fullmatch(self.headers.get("Host", "")):
            self.send_error(HTTPStatus.FORBIDDEN, f"this server answers requests for {HOST} and localhost only")
            return None
        path = unquote(self.path.partition("?")[0])
        entry = self.server.site.get(path)
        try:
            content = entry.read_bytes() if isinstance(entry, Path) else entry
        except OSError:
            content = None  # it was moved, or the model was exported again
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND, "nothing is at this address")
            return None
        ending = (entry if isinstance(entry, Path) else Path(path)).suffix
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _TYPES.get(ending, "application/octet-stream"))
        self.send_header("Content-Length", str(len(content)))
        for header, value in _HEADERS.items():
            self.send_header(header, value)
        self.end_headers()
        return content
