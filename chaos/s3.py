"""S3 on loopback (moto), in this process: buckets that processes of ours reach by URL, and their faults.

One request is answered at a time: moto looks at a condition and writes in two steps, which S3 does in one.
"""

import contextlib
import logging
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=test/20240630/us-east-1/s3/aws4_request"


class Kill(NamedTuple):
    """The end of whoever asks, before what it asks for is done or after.

    Attributes:
        before: which of both.
        act: ends it.
    """

    before: bool
    act: Callable[[], object]


Fault = int | str | Kill


class S3:
    """A server on a free port.

    Attributes:
        address: its own.
        requests: how many there were, by method.
        faults: by a bucket's name, asked at each of its requests by method and path: ``None`` for none, a status to
            answer with, ``lost`` for an answer that is not given to what has been done, ``slow`` for a second's delay,
            or ``Kill``.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.faults: dict[str, Callable[[str, str], Fault | None]] = {}
        self._mutex = threading.Lock()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.address = f"http://127.0.0.1:{self._server.port}"

    @contextlib.contextmanager
    def running(self) -> Iterator["S3"]:
        """Serve until the block ends."""
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # a line a request
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def new_bucket(self) -> str:
        """The URL of an empty place in a bucket of its own."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        httpx.put(f"{self.address}/{name}", headers={"Authorization": _AUTHORIZATION}).raise_for_status()
        return f"s3://{name}/recording"

    def environment(self) -> dict[str, str]:
        """What leads a process to it."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def _answer(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        method = environ["REQUEST_METHOD"]
        self.requests[method] += 1
        path = environ["PATH_INFO"]
        meet = self.faults.get(path.split("/")[1])
        fault = None if meet is None else meet(method, path)
        if isinstance(fault, int) or (isinstance(fault, Kill) and fault.before):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            if isinstance(fault, Kill):
                fault.act()
            start_response(f"{fault if isinstance(fault, int) else 503} Fault", [("Content-Length", "0")])
            return [b""]
        if fault == "slow":
            time.sleep(1)
        with self._mutex:
            answer = [bytes(part) for part in self._app(environ, start_response)]
        if isinstance(fault, Kill):
            fault.act()
        if fault == "lost":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return answer
