"""A registry that answers by script, with or without TLS."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bbs.client.identity import IdentityFiles

REPOSITORY = "team/app"
SCHEMA_2 = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Answer:
    """What a path is answered with."""

    body: bytes | str | Mapping[str, Any] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass(frozen=True)
class Asked:
    path: str
    authorization: str | None
    accept: str | None


Rule = Answer | Callable[[Asked], Answer]


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class FakeRegistry:
    """Answers by script and records its requests. Unknown paths: 404."""

    def __init__(self, server: ThreadingHTTPServer, scheme: str) -> None:
        self.host = f"127.0.0.1:{server.server_address[1]}"
        self.url = f"{scheme}://{self.host}"
        self.rules: dict[str, Rule] = {"/v2/": Answer("{}")}
        self.asked: list[Asked] = []

    def put_config(self, config: object) -> str:
        """Store an image configuration; its digest."""
        content = json.dumps({"architecture": "amd64", "os": "linux", "config": config}).encode()
        self.rules[f"/v2/{REPOSITORY}/blobs/{digest(content)}"] = Answer(content)
        return digest(content)

    def put_manifest(self, manifest: object, kind: str = SCHEMA_2, tag: str = "v1") -> str:
        """Store a manifest under a tag and its digest, which is returned."""
        content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        for version in (tag, digest(content)):
            self.rules[f"/v2/{REPOSITORY}/manifests/{version}"] = Answer(
                content, headers={"Content-Type": kind}
            )
        return digest(content)

    def put_image(self, config: object) -> str:
        """A whole image of schema 2; the digest of its configuration."""
        found = self.put_config(config)
        self.put_manifest({"schemaVersion": 2, "mediaType": SCHEMA_2, "config": {"digest": found}})
        return found

    def paths(self) -> list[str]:
        return [each.path.partition("?")[0] for each in self.asked]

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        rule = self.rules.get(asked.path.partition("?")[0])
        if rule is None:
            return Answer({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}, 404)
        return rule if isinstance(rule, Answer) else rule(asked)


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses the certificate is no trouble of ours."""


@contextmanager
def fake_registry(tls: ssl.SSLContext | None) -> Iterator[FakeRegistry]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            given = this.answer(
                Asked(self.path, self.headers.get("Authorization"), self.headers.get("Accept"))
            )
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in given.headers:
                self.send_header("Content-Length", str(len(given.content)))
            self.end_headers()
            self.wfile.write(given.content)
            self.close_connection = "Content-Length" in given.headers  # which may promise more

        def log_message(self, format: str, *args: object) -> None:
            """Discarded."""

    server = QuietServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    this = FakeRegistry(server, "https" if tls else "http")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield this
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """One without TLS."""
    with fake_registry(None) as this:
        yield this


@pytest.fixture
def another_registry() -> Iterator[FakeRegistry]:
    with fake_registry(None) as this:
        yield this


@pytest.fixture
def tls_registry(tls_identity: IdentityFiles) -> Iterator[FakeRegistry]:
    """A registry with a certificate of a private authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls_identity.cert_file, tls_identity.key_file)
    with fake_registry(context) as this:
        yield this


@dataclass
class Staged:
    """How a run of the docker builder ended."""

    status: int
    out: str
    err: str
    result: Mapping[str, Any] | None

    @property
    def cause(self) -> str:
        """Why the metadata could not be fetched."""
        return self.err.rpartition("due to ")[2].rstrip("\n")


@pytest.fixture
def stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Staged]:
    """Runs the docker builder for an image of a registry."""
    import signal

    from lifecycle.docker.builder import main

    def go(there: FakeRegistry, *flags: str, insecure: bool = True, version: str = ":v1") -> Staged:
        output = tmp_path / "result" / "result.json"
        arguments = ["builder", f"-dockerRef={there.host}/{REPOSITORY}{version}", *flags]
        arguments.append(f"-outputMetadataJSONFilename={output}")
        if insecure:
            arguments.append(f"-insecureDockerRegistries={there.host}")
        kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            status = main(arguments)
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
        said = capsys.readouterr()
        return Staged(status, said.out, said.err, json.loads(output.read_text()) if output.exists() else None)

    return go


@pytest.fixture
def answer() -> type[Answer]:
    return Answer
