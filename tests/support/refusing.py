"""An exchange that refuses everything, as some countries meet it."""

from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Refusing(ThreadingHTTPServer):
    """Answers 451 to everything, WebSockets too, and counts by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Refusal)
        self.asked: Counter[str] = Counter()


class Refusal(BaseHTTPRequestHandler):
    """One connection to it."""

    protocol_version = "HTTP/1.1"  # a WebSocket client reads no other answer

    def do_GET(self) -> None:
        assert isinstance(self.server, Refusing)
        self.server.asked[self.path.partition("?")[0]] += 1
        body = b'{"code": 0, "msg": "Service unavailable from a restricted location"}'
        self.send_response(451)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...
