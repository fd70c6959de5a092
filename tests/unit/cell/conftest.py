"""A scripted BBS, and commands run as from a shell."""

from __future__ import annotations

import ssl
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from google.protobuf.message import Message

from cell.main import main

PROTOBUF = "application/x-protobuf"
TIMEOUT_S = 10


@dataclass(frozen=True)
class Asked:
    """A request the server had."""

    method: str
    path: str
    body: bytes


@dataclass(frozen=True)
class Answer:
    """chunked: the body is already framed. held: the connection stays open until the end of the test."""

    body: bytes
    media_type: str = PROTOBUF
    status: int = 200
    chunked: bool = False
    held: bool = False


@dataclass
class ScriptedBBS:
    """Answers in order, per path where the order of requests is not given."""

    answers: deque[Answer] = field(default_factory=deque)
    by_path: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, message: Message | bytes, media_type: str = PROTOBUF, status: int = 200) -> None:
        body = message if isinstance(message, bytes) else message.SerializeToString()
        self.answers.append(Answer(body, media_type, status))

    def stream(self, path: str, chunks: bytes) -> None:
        """Whenever asked for it; events in chunks, as a Go BBS frames them, and then the end."""
        end = b"0;\r\n\r\n"
        body = chunks.removesuffix(end) + end
        self.by_path[path] = Answer(body, "text/event-stream; charset=utf-8", chunked=True)

    def hold(self, path: str, chunks: bytes) -> None:
        """As ``stream``, without an end."""
        self.by_path[path] = Answer(chunks, "text/event-stream; charset=utf-8", chunked=True, held=True)

    def reply_to(self, request: Asked) -> Answer:
        self.asked.append(request)
        return self.by_path.get(request.path) or self.answers.popleft()

    @contextmanager
    def serving(self, context: ssl.SSLContext | None = None) -> Iterator[None]:
        """A listener of its own for this script; ``url`` is that of the latest."""
        with _Server(("127.0.0.1", 0), _handler(self)) as server:
            if context is not None:
                server.socket = context.wrap_socket(server.socket, server_side=True)
            self.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield
            self.over.set()
            server.shutdown()
            thread.join(TIMEOUT_S)


class _Server(ThreadingHTTPServer):
    """Does not log disconnected clients: standard error belongs to the command under test."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            raise


def _handler(bbs: ScriptedBBS) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            answer = bbs.reply_to(Asked(self.command, self.path, body))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.media_type)
            if answer.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
            if answer.held:
                bbs.over.wait(TIMEOUT_S)

        do_GET = do_POST = _serve  # noqa: N815 - named by the base class

        def log_message(self, format: str, *args: object) -> None:
            """Discarded."""

    return Handler


@pytest.fixture
def bbs() -> Iterator[ScriptedBBS]:
    scripted = ScriptedBBS()
    with scripted.serving():
        yield scripted


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()


Shell = Callable[..., Ended]
VARIABLES = (
    "BBS_URL",
    "CA_CERT_FILE",
    "CLIENT_CERT_FILE",
    "CLIENT_KEY_FILE",
    "SKIP_CERT_VERIFY",
    "LOCKET_API_LOCATION",
    "CFDOT_TIMEOUT",
)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    """Runs ``cell ARGUMENTS`` where no variable is set but those given, and no ``cell dev`` runs."""

    def run(*arguments: str, env: Mapping[str, str] | None = None) -> Ended:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        status = main(arguments)
        told = capsys.readouterr()
        return Ended(status, told.out, told.err)

    monkeypatch.setattr("cell.client.target.DEFAULT_STATE_DIR", tmp_path / "no-cell-dev")
    return run
