"""A server that messages are posted to."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """Receives messages while the context is open.

    It answers with `statuses`, one after the other, and repeats the last one.

    Args:
        address: to listen at.

    Attributes:
        messages: all messages.
        accepted: the messages that were answered with status 200.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.statuses = [200]
        self.messages: list[dict[str, Any]] = []
        self.accepted: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = hook.statuses.pop(0) if len(hook.statuses) > 1 else hook.statuses[0]
                hook.messages.append(message)
                if status == 200:
                    hook.accepted.append(message)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self.server.server_port}/services/secret-key"
        self._thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> "Webhook":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()
