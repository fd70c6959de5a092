"""Servers of the golden cases: bare TCP, HTTP, files, an image registry, CredHub."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
import ssl
import struct
import threading
import time
import zipfile
from contextlib import suppress
from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
NAME_IN_TOKEN = "token-of-u"


class Server:
    """Listens on one address; each connection has a thread."""

    refuses_tls = False
    """Whether a TLS handshake is answered in plain HTTP; the others just wait for more."""

    def __init__(self, spec: dict[str, Any], host: str, port: int) -> None:
        self.spec = spec
        self.host = host
        self.port = port
        self.requests: list[tuple[str, list[list[str]]]] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []
        self._closed = threading.Event()

    def __enter__(self) -> Server:
        if "listen_after_ms" not in self.spec:
            self._listen()
        return self

    def begin(self) -> None:
        """The program is about to start."""
        if "listen_after_ms" in self.spec:
            threading.Timer(self.spec["listen_after_ms"] / 1000, self._listen).start()

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for sock in [self._listener, *self._open]:
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()

    def _listen(self) -> None:
        backlog_full = self.spec.get("mode") == "backlog-full"
        self._listener = listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(0 if backlog_full else 64)
        if backlog_full:
            self._fill_backlog()
        else:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _fill_backlog(self) -> None:
        for _ in range(8):
            sock = socket.socket()
            sock.settimeout(0.2)
            self._open.append(sock)
            try:
                sock.connect((self.host, self.port))
            except TimeoutError:
                return
        raise RuntimeError("the backlog does not fill")

    def _accept(self, listener: socket.socket) -> None:
        while not self._closed.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self._open.append(sock)
            threading.Thread(target=self._serve_quietly, args=(sock,), daemon=True).start()

    def _serve_quietly(self, sock: socket.socket) -> None:
        with suppress(OSError, ssl.SSLError):
            self.serve(sock)

    def serve(self, sock: socket.socket) -> None:
        mode = self.spec["mode"]
        if mode == "accept":
            self._closed.wait()
        elif mode in ("read-close", "reset", "send"):
            sock.recv(65536)
            if mode == "send":
                sock.sendall(self.spec["data"].encode())
            if mode == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def read_request(self, sock: socket.socket) -> tuple[str, dict[str, str]] | None:
        """Request line and headers by lower-case name; the body is read and dropped."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                return None
            data += more
            if data[0] == 0x16 and self.refuses_tls:
                sock.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                sock.close()
                return None
        head, _, body = data.partition(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = [list(header.split(": ", 1)) for header in rest]
        named = {name.lower(): value for name, value in headers}
        left = int(named.get("content-length", "0")) - len(body)
        while left > 0:
            left -= len(sock.recv(65536))
        with self._lock:
            self.requests.append((line, headers))
        return line, named


class NoListener(Server):
    """Nothing listens."""

    def __enter__(self) -> Server:
        return self

    def begin(self) -> None:
        pass


class Http(Server):
    """Answers by order or by target, then closes."""

    def serve(self, sock: socket.socket) -> None:
        request = self.read_request(sock)
        if request is not None:
            self.send(sock, self.reply(*request))
            sock.close()

    def reply(self, line: str, headers: dict[str, str]) -> dict[str, Any]:
        if "routes" in self.spec:
            reply: dict[str, Any] = self.spec["routes"].get(line.split(" ")[1], {"status": 404})
            return reply
        replies = self.spec["replies"]
        return dict(replies[min(len(self.requests), len(replies)) - 1])

    def send(self, sock: socket.socket, reply: dict[str, Any]) -> None:
        time.sleep(reply.get("delay_ms", 0) / 1000)
        if "raw" in reply:
            sock.sendall(reply["raw"].encode())
            return
        body = reply.get("body", "")
        content = body if isinstance(body, bytes) else body.encode()
        status = reply["status"]
        phrases = {500: "Internal Server Error", 401: "Unauthorized", 404: "Not Found"}
        head = [f"HTTP/1.1 {status} {reply.get('reason', phrases.get(status, 'X'))}"]
        head += [f"{name}: {value}" for name, value in reply.get("headers", [])]
        head.append(f"Content-Length: {reply.get('length', len(content))}")
        sock.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode())
        if "body_delay_ms" in reply:
            self._closed.wait(reply["body_delay_ms"] / 1000)
        sock.sendall(content)


class Files(Http):
    """Files, redirects and zips by path."""

    def reply(self, line: str, headers: dict[str, str]) -> dict[str, Any]:
        path = line.split(" ")[1].partition("?")[0]
        entry = self.spec["files"].get(path)
        if entry is None:
            return {"status": self.spec["otherwise"]}
        if "redirect" in entry:
            return {"status": 302, "headers": [["Location", entry["redirect"]]]}
        return {"status": 200, "body": _zip(entry["zip"]) if "zip" in entry else entry["content"]}


def _zip(members: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, entry in members.items():
            entry = {"content": entry} if isinstance(entry, str) else entry
            content = entry["repeat"] * entry["count"] if "repeat" in entry else entry["content"]
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | int(entry.get("mode", "644"), 8)) << 16
            archive.writestr(info, content)
    return out.getvalue()


def _image(spec: dict[str, Any]) -> tuple[bytes, bytes]:
    """Config blob and manifest."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": spec["image_config"],
            "rootfs": {"type": "layers", "diff_ids": []},
        },
        separators=(",", ":"),
    ).encode()
    kind = spec.get("mt", DOCKER_MANIFEST)
    config_kind = (
        "application/vnd.oci.image.config.v1+json"
        if "oci" in kind
        else "application/vnd.docker.container.image.v1+json"
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": config_kind, "size": len(config), "digest": _digest(config)},
        "layers": [],
    }
    return config, json.dumps(manifest, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def manifest_digest(spec: dict[str, Any]) -> str:
    """Hex digits of the manifest's digest."""
    return _digest(_image(spec)[1]).partition(":")[2]


class Registry(Http):
    """A plain-HTTP v2 registry with one image under every name."""

    refuses_tls = True

    def __init__(self, spec: dict[str, Any], host: str, port: int) -> None:
        super().__init__(spec, host, port)
        self._config, self._manifest = _image(spec)
        self._failures = {"manifest": spec.get("fail", 0), "config": spec.get("cfgfail", 0)}

    def reply(self, line: str, headers: dict[str, str]) -> dict[str, Any]:
        path = line.split(" ")[1].partition("?")[0]
        authorization = headers.get("authorization", "")
        if path == "/token":
            if authorization and authorization != _basic():
                return _errors(401, "UNAUTHORIZED", "authentication required")
            return {"status": 200, "body": json.dumps({"token": NAME_IN_TOKEN})}
        challenge = self._challenge(authorization)
        if challenge:
            denied = _errors(401, "UNAUTHORIZED", "authentication required")
            return {**denied, "headers": [["WWW-Authenticate", challenge]]}
        if path == "/v2/":
            return {"status": 200, "body": "{}"}
        kind = "manifest" if "/manifests/" in path else "config"
        if self._failures[kind] > 0:
            self._failures[kind] -= 1
            return {"status": 500, "body": "boom"}
        reference = path.rpartition("/")[2]
        return self._manifest_reply(reference) if kind == "manifest" else self._blob_reply(reference)

    def _challenge(self, authorization: str) -> str:
        wanted = self.spec.get("auth")
        if wanted == "basic" and authorization != _basic():
            return 'Basic realm="r"'
        if wanted == "bearer" and authorization != f"Bearer {NAME_IN_TOKEN}":
            return f'Bearer realm="http://{self.host}:{self.port}/token",service="s"'
        return ""

    def _manifest_reply(self, reference: str) -> dict[str, Any]:
        kind, content = self.spec.get("mt", DOCKER_MANIFEST), self._manifest
        if reference == "none":
            return _errors(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if self.spec.get("index") and not reference.startswith("sha256:"):
            entries = [
                {
                    "mediaType": kind,
                    "digest": digest,
                    "size": len(self._manifest),
                    "platform": {"os": "linux", "architecture": architecture},
                }
                for architecture, digest in (("arm64", _digest(b"")), ("amd64", _digest(self._manifest)))
            ]
            kind = OCI_INDEX
            content = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
        elif reference.startswith("sha256:") and reference != _digest(content):
            return _errors(404, "MANIFEST_UNKNOWN", "manifest unknown")
        headers = [["Content-Type", kind], ["Docker-Content-Digest", _digest(content)]]
        return {"status": 200, "headers": headers, "body": content}

    def _blob_reply(self, digest: str) -> dict[str, Any]:
        if digest != _digest(self._config):
            return _errors(404, "BLOB_UNKNOWN", "blob unknown")
        return {"status": 200, "body": self._config}


def _basic() -> str:
    return "Basic " + base64.b64encode(b"u:p").decode()


def _errors(status: int, code: str, message: str) -> dict[str, Any]:
    return {"status": status, "body": json.dumps({"errors": [{"code": code, "message": message}]})}


class CredHub(Http):
    """HTTPS, asking for a client certificate."""

    def __init__(self, spec: dict[str, Any], host: str, port: int, certs: str) -> None:
        super().__init__(spec, host, port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(f"{certs}/server.crt", f"{certs}/server.key")
        self._context.load_verify_locations(f"{certs}/ca.crt")
        self._context.verify_mode = ssl.CERT_REQUIRED

    def serve(self, sock: socket.socket) -> None:
        with self._context.wrap_socket(sock, server_side=True) as secure:
            super().serve(secure)


def start_server(spec: dict[str, Any] | None, ip: str, port: int, certs: str) -> Server:
    """The server of a case, not yet listening; one that never listens when the case has none."""
    local = "127.0.0.1"
    match spec:
        case None | {"kind": "closed"}:
            return NoListener({}, ip, port)
        case {"kind": "tcp"}:
            return Server(spec, spec.get("bind", ip), port)
        case {"kind": "http"}:
            return Http(spec, spec.get("bind", ip), port)
        case {"kind": "files"}:
            return Files(spec, local, port)
        case {"kind": "registry"}:
            return Registry(spec, local, port)
        case {"kind": "credhub"}:
            return CredHub(spec, local, port, certs)
    raise ValueError(f"unknown kind of server: {spec}")
