"""A local server that answers in JSON, in the place of an API server."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def api_server(
    answer: Callable[[BaseHTTPRequestHandler, Any], tuple[int, Any]], tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Serves while the context is open; its port on 127.0.0.1.

    Args:
        answer: returns the status and the content of the answer to a request, which it gets with the request's content.
        tls: to serve HTTPS with.
    """

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            status, found = answer(self, json.loads(self.rfile.read(size)) if size else None)
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
