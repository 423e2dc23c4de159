"""A local stand-in for an OpenAI-compatible server."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StubServer:
    """Answers with the queued (status, body) pairs, the last one again and again, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.requests: list[dict[str, Any]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = self.headers.get("Authorization")
                stub.requests.append({"path": self.path, "authorization": key, "body": body})
                status, answer = stub.answers.pop(0) if len(stub.answers) > 1 else stub.answers[0]
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        # Polled often, or every test would wait half a second for the end.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def say(self, text: str, **choice: Any) -> tuple[int, Any]:
        """A chat completion."""
        return 200, {"choices": [{"message": {"role": "assistant", "content": text}, **choice}]}

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
