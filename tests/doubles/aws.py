"""AWS on loopback: moto for what it can do, servers of our own for the rest, and the environment that leads there.

`variables` is all that the SDK's chain of credentials sees of the machine: no file, no instance profile.
"""

from __future__ import annotations

import contextlib
import http.server
import logging
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"  # moto's
REGION = "us-west-2"
SERVICES = ("ECR", "KMS", "SNS", "STS")


@contextlib.contextmanager
def moto() -> Iterator[str]:
    """The URL of a server that plays ECR, KMS, SNS and STS, and has nothing yet; one at a time in a process."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"), timeout=20).close()
        yield url
    finally:
        server.stop()


def variables(url: str = "", **endpoints: str) -> dict[str, str]:
    """An environment with static credentials, whose SDK asks `url` for everything moto plays.

    `endpoints` are URLs of other services: `variables(signer_data=…)`.
    """
    found = {f"AWS_ENDPOINT_URL_{service}": url for service in SERVICES if url}
    found |= {f"AWS_ENDPOINT_URL_{service.upper()}": other for service, other in endpoints.items()}
    return {**without_credentials(), **found, "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "x"}


def without_credentials() -> dict[str, str]:
    """An environment in which nobody is anybody."""
    return {
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str  # path and query, as they came
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(status: int, error: str, message: str = "") -> Response:
    """An error as services that speak JSON write it."""
    body = f'{{"__type": "{error}", "message": "{message}"}}'
    return Response(status, body.encode(), {"x-amzn-ErrorType": error})


class _HTTPServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Server:
    """A service on loopback: `answer` is asked for each request, each in a thread. Those that `hang` wait for `close`.

    `requests` is what came.
    """

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        self.answer, self.hanging, self.requests = answer, False, list[Request]()
        self._released = threading.Event()
        self._server = _HTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"

    def release(self) -> None:
        """Whoever hangs is answered."""
        self.hanging = False
        self._released.set()

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self, request: Request) -> Response:
        self.requests.append(request)
        if self.hanging:
            self._released.wait(20)
        return self.answer(request)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        receive = self._receive

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = receive(Request(self.command, self.path, dict(self.headers.items()), body))
                with contextlib.suppress(OSError):  # who asked may have gone
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                pass

        return Handler
