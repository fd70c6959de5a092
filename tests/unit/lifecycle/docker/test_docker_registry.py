"""The docker builder with valid and invalid answers of registries."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lifecycle.docker.registry import MAX_BYTES

pytestmark = pytest.mark.unit

CONFIG = {"Cmd": ["/app"], "ExposedPorts": {"8080/tcp": {}}}
METADATA = '{"cmd":["/app"],"ports":[{"Port":8080,"Protocol":"tcp"}]}'

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"
SCHEMA_1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DENIED = {"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}


def schema_1(config: object) -> dict[str, Any]:
    top, bottom = json.dumps({"config": config}), json.dumps({"config": {"Cmd": []}})
    layers = [{"v1Compatibility": top}, {"v1Compatibility": bottom}]
    return {"schemaVersion": 1, "name": "team/app", "tag": "v1", "architecture": "amd64", "history": layers}


def sign(manifest: dict[str, Any]) -> tuple[bytes, str]:
    """The manifest with a signature inside, and the digest, which is of the manifest without it."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    plain = json.dumps(manifest, indent=3).encode()
    at, tail = len(plain) - 2, plain[-2:]
    form = {"formatLength": at, "formatTail": encoded(tail), "time": "2015-08-12T00:00:00Z"}
    signature = {"header": {}, "signature": "x", "protected": encoded(json.dumps(form).encode())}
    signed = plain[:at] + f',\n   "signatures": {json.dumps([signature])}'.encode() + tail
    json.loads(signed)
    return signed, f"sha256:{hashlib.sha256(plain).hexdigest()}"


# -- manifests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SCHEMA_1, SCHEMA_1_SIGNED, "application/json"])
def test_an_image_of_schema_1(kind: str, registry: Any, stage: Any) -> None:
    """Its configuration is in the manifest: that of the top layer, which comes first."""
    registry.put_manifest(schema_1(CONFIG), kind)
    staged = stage(registry)
    assert (staged.status, staged.err) == (0, "")
    assert staged.result["execution_metadata"] == METADATA
    assert registry.paths() == ["/v2/", "/v2/team/app/manifests/v1"]


def test_a_signed_image_of_schema_1_by_its_digest(registry: Any, stage: Any, answer: Any) -> None:
    signed, digest = sign(schema_1(CONFIG))
    registry.rules[f"/v2/team/app/manifests/{digest}"] = answer(
        signed, headers={"Content-Type": SCHEMA_1_SIGNED}
    )
    staged = stage(registry, version=f"@{digest}")
    assert (staged.status, staged.err) == (0, "")
    assert staged.result["lifecycle_metadata"]["docker_image"] == f"{registry.host}/team/app@{digest}"


@pytest.mark.parametrize(
    ("manifest", "cause"),
    [
        ({"schemaVersion": 1}, "malformed manifest of schema 1"),
        ({"schemaVersion": 1, "history": []}, "malformed manifest of schema 1"),
        ({"schemaVersion": 1, "history": [{"v1Compatibility": "{"}]}, "unusable image configuration: "),
        ({"schemaVersion": 2}, "unsupported manifest of "),
        ({"schemaVersion": 2, "config": "x"}, "unsupported manifest of "),
        ({"manifests": [{}]}, "no image found in manifest list "),
        ({"manifests": 7}, "malformed image index"),
        ([1], "unusable manifest: not a JSON object"),
        (b"{", "unusable manifest: "),
        (b"[" * 100_000, "unusable manifest: "),
    ],
)
def test_manifests_that_cannot_be_used(manifest: Any, cause: str, registry: Any, stage: Any) -> None:
    registry.put_manifest(manifest)
    staged = stage(registry)
    assert (staged.status, staged.result) == (2, None)
    assert staged.cause.startswith(cause)
    assert staged.err.count("Going to retry attempt") == 3


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST])
def test_an_index_has_the_image_of_this_machine(kind: str, registry: Any, stage: Any) -> None:
    right = registry.put_config(CONFIG)
    wrong = registry.put_config({"Cmd": ["/wrong"]})
    entries = [
        {"digest": registry.put_manifest({"schemaVersion": 2, "config": {"digest": digest}}, tag=tag)}
        | {"platform": {"os": system, "architecture": architecture}}
        for tag, digest, system, architecture in (
            ("windows", wrong, "windows", ARCHITECTURE),
            ("other", wrong, "linux", "s390x"),
            ("this", right, "linux", ARCHITECTURE),
            ("later", wrong, "linux", ARCHITECTURE),
        )
    ]
    registry.put_manifest({"schemaVersion": 2, "mediaType": kind, "manifests": entries}, kind)
    staged = stage(registry)
    assert (staged.status, staged.result["execution_metadata"]) == (0, METADATA)


@pytest.mark.parametrize("platforms", [[], [("windows", ARCHITECTURE), ("linux", "s390x")]])
def test_an_index_without_this_machine(platforms: list[tuple[str, str]], registry: Any, stage: Any) -> None:
    entries = [
        {"digest": "sha256:" + "0" * 64, "platform": {"os": system, "architecture": architecture}}
        for system, architecture in platforms
    ]
    registry.put_manifest({"schemaVersion": 2, "manifests": entries}, OCI_INDEX)
    staged = stage(registry)
    assert staged.status == 2
    wanted = f'no image found in manifest list for architecture "{ARCHITECTURE}", variant "", OS "linux"'
    assert staged.cause == wanted
    assert staged.err.endswith(f"due to {wanted}\n\n")


def test_what_is_not_what_its_digest_says(registry: Any, stage: Any, answer: Any) -> None:
    digest = registry.put_image(CONFIG)
    registry.rules[f"/v2/team/app/blobs/{digest}"] = answer("{}")
    staged = stage(registry)
    assert staged.status == 2
    assert staged.cause.startswith(f"Digest did not match, expected {digest}, got sha256:")
    other = "sha256:" + "0" * 64
    registry.rules[f"/v2/team/app/manifests/{other}"] = answer("{}")
    assert stage(registry, version=f"@{other}").cause.startswith("Digest did not match, expected sha256:000")


def test_answers_that_break_off_are_asked_for_again(registry: Any, stage: Any, answer: Any) -> None:
    path = f"/v2/team/app/blobs/{registry.put_image(CONFIG)}"
    whole = registry.rules[path]
    replies = [answer(whole.content[:10], headers={"Content-Length": str(len(whole.content))}), whole]
    registry.rules[path] = lambda _: replies.pop(0)
    staged = stage(registry)
    assert staged.status == 0
    assert staged.err == (
        f'Failed getting docker image config by tag: Get "{registry.url}{path}": unexpected EOF'
        "  Going to retry attempt: 1\n"
    )


def test_answers_without_end_are_cut_off(registry: Any, stage: Any) -> None:
    registry.put_manifest(b" " * (MAX_BYTES + 1) + b"{}")
    staged = stage(registry)
    assert (staged.status, staged.cause.startswith("unusable manifest: ")) == (2, True)


@pytest.mark.parametrize("config", [None, {}, {"Cmd": None, "Entrypoint": [], "User": None}])
def test_configurations_without_a_command(config: Any, registry: Any, stage: Any) -> None:
    registry.put_image(config)
    staged = stage(registry)
    assert (staged.status, staged.result["execution_metadata"]) == (0, "{}")


@pytest.mark.parametrize(
    ("config", "trouble"),
    [
        ("text", "config is not a JSON object"),
        ([1], "config is not a JSON object"),
        ({"Cmd": "/app"}, "Cmd is not a list of texts"),
        ({"Entrypoint": [1]}, "Entrypoint is not a list of texts"),
        ({"WorkingDir": 7}, "WorkingDir is not a text"),
        ({"User": ["root"]}, "User is not a text"),
        ({"ExposedPorts": ["80"]}, "ExposedPorts is not a JSON object"),
    ],
)
def test_configurations_that_cannot_be_used(config: Any, trouble: str, registry: Any, stage: Any) -> None:
    registry.put_image(config)
    staged = stage(registry)
    assert (staged.status, staged.cause) == (2, f"unusable image configuration: {trouble}")


def test_all_kinds_of_manifests_are_asked_for_in_order(registry: Any, stage: Any) -> None:
    registry.put_image(CONFIG)
    stage(registry)
    (accept,) = {each.accept for each in registry.asked if "manifests" in each.path}
    assert accept.split(", ")[:5] == [
        OCI_INDEX,
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        SCHEMA_1_SIGNED,
        SCHEMA_1,
    ]


# -- redirects ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_another_host_does_not_get_the_credentials(
    status: int, registry: Any, another_registry: Any, stage: Any, answer: Any
) -> None:
    path = f"/v2/team/app/blobs/{registry.put_image(CONFIG)}"
    another_registry.rules["/storage"] = registry.rules[path]
    registry.rules[path] = answer(b"", status, {"Location": f"{another_registry.url}/storage?signed=1"})
    registry.rules["/v2/"] = answer(b"", 401, {"WWW-Authenticate": 'Basic realm="r"'})
    staged = stage(registry, "-dockerUser=u", "-dockerPassword=p")
    assert (staged.status, staged.err) == (0, "")
    assert [(each.path, each.authorization) for each in another_registry.asked] == [
        ("/storage?signed=1", None)
    ]
    basic = "Basic " + base64.b64encode(b"u:p").decode()
    assert [each.authorization for each in registry.asked] == [None, basic, basic]


def test_the_same_host_still_gets_them(registry: Any, stage: Any, answer: Any) -> None:
    path = f"/v2/team/app/blobs/{registry.put_image(CONFIG)}"
    registry.rules["/moved"] = registry.rules[path]
    registry.rules[path] = answer(b"", 307, {"Location": "/moved"})
    registry.rules["/v2/"] = answer(b"", 401, {"WWW-Authenticate": 'Basic realm="r"'})
    assert stage(registry, "-dockerUser=u", "-dockerPassword=p").status == 0
    assert registry.asked[-1].path == "/moved"
    assert registry.asked[-1].authorization is not None


def test_the_credentials_do_not_leave_tls(
    tls_registry: Any, another_registry: Any, stage: Any, answer: Any
) -> None:
    path = f"/v2/team/app/blobs/{tls_registry.put_image(CONFIG)}"
    another_registry.rules["/plain"] = tls_registry.rules[path]
    tls_registry.rules[path] = answer(b"", 307, {"Location": f"{another_registry.url}/plain"})
    tls_registry.rules["/v2/"] = answer(b"", 401, {"WWW-Authenticate": 'Basic realm="r"'})
    assert stage(tls_registry, "-dockerUser=u", "-dockerPassword=p").status == 0
    assert another_registry.asked[-1].authorization is None


@pytest.mark.parametrize(
    ("location", "cause"),
    [
        ("/v2/team/app/manifests/v1", "stopped after 10 redirects"),
        ("ftp://127.0.0.1/", "unsupported protocol scheme"),
        ("http://127.0.0.1:1/", "connect: connection refused"),
        ("http://[::1", "missing ']' in host"),
    ],
)
def test_redirects_that_lead_nowhere(
    location: str, cause: str, registry: Any, stage: Any, answer: Any
) -> None:
    registry.rules["/v2/team/app/manifests/v1"] = answer(b"", 302, {"Location": location})
    staged = stage(registry)
    assert staged.status == 2
    assert cause in staged.cause


# -- signing in -----------------------------------------------------------------------------------------


def ask_for_token(registry: Any, answer: Any, realm: str | None = None) -> None:
    """Make it require a token of its ``/token``."""
    challenge = f'Bearer realm="{realm or registry.url + "/token"}",service="the service"'

    def wanted(asked: Any) -> Any:
        if asked.authorization == "Bearer good":
            return answer("{}")
        return answer(b"", 401, {"WWW-Authenticate": challenge})

    registry.rules["/v2/"] = wanted


@pytest.mark.parametrize("member", ["token", "access_token"])
def test_a_token(member: str, registry: Any, stage: Any, answer: Any) -> None:
    registry.put_image(CONFIG)
    ask_for_token(registry, answer)
    registry.rules["/token"] = answer({member: "good"})
    staged = stage(registry, "-dockerUser=us er", "-dockerPassword=p")
    assert staged.status == 0
    token = registry.asked[1]
    assert token.path == "/token?account=us+er&scope=repository%3Ateam%2Fapp%3Apull&service=the+service"
    assert token.authorization == "Basic " + base64.b64encode(b"us er:p").decode()
    assert {each.authorization for each in registry.asked[2:]} == {"Bearer good"}
    assert "p" not in staged.result["lifecycle_metadata"].values()


@pytest.mark.parametrize(
    ("body", "status", "cause"),
    [
        ({"details": "no"}, 401, "unable to retrieve auth token: invalid username/password: authentication"),
        (DENIED, 403, "unable to retrieve auth token: requested access to the resource is denied"),
        (
            "",
            500,
            "unable to retrieve auth token: received unexpected HTTP status: 500 Internal Server Error",
        ),
        ("{", 200, "unusable token: "),
        ("[]", 200, "unusable token: not a JSON object"),
    ],
)
def test_tokens_that_are_not_given(
    body: Any, status: int, cause: str, registry: Any, stage: Any, answer: Any
) -> None:
    registry.put_image(CONFIG)
    ask_for_token(registry, answer)
    registry.rules["/token"] = answer(body, status)
    staged = stage(registry, "-dockerUser=u", "-dockerPassword=p")
    assert (staged.status, staged.result) == (2, None)
    assert staged.cause.startswith(cause)
    assert staged.err.count("Failed getting docker image manifest by tag: ") == 4


def test_a_token_that_no_header_can_have(registry: Any, stage: Any, answer: Any) -> None:
    ask_for_token(registry, answer)
    registry.rules["/token"] = answer({"token": "a\r\nX-Header: of its own"})
    staged = stage(registry)
    assert staged.status == 2
    assert staged.cause.endswith('net/http: invalid header field value for "Authorization"')


@pytest.mark.parametrize("realm", ["http://127.0.0.1:1/token", "nowhere", "http://[::1"])
def test_tokens_of_nobody(realm: str, registry: Any, stage: Any, answer: Any) -> None:
    registry.put_image(CONFIG)
    ask_for_token(registry, answer, realm)
    staged = stage(registry)
    assert (staged.status, staged.result) == (2, None)


def test_a_token_that_is_not_enough(registry: Any, stage: Any, answer: Any) -> None:
    """The message contains the registry's own text."""
    ask_for_token(registry, answer)
    registry.rules["/token"] = answer({"token": "good"})
    registry.rules["/v2/team/app/manifests/v1"] = answer(DENIED, 403)
    staged = stage(registry)
    assert staged.status == 2
    assert staged.cause == (
        f"reading manifest v1 in {registry.host}/team/app: requested access to the resource is denied"
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (DENIED, "requested access to the resource is denied"),
        ({"errors": [{"code": "TOOMANYREQUESTS"}]}, "toomanyrequests"),
        ("<html>", "received unexpected HTTP status: 429 Too Many Requests"),
        ("[" * 100_000, "received unexpected HTTP status: 429 Too Many Requests"),
    ],
)
def test_a_registry_that_denies(body: Any, words: str, registry: Any, stage: Any, answer: Any) -> None:
    registry.rules["/v2/"] = answer(body, 429)
    staged = stage(registry)
    assert (staged.status, staged.cause) == (2, f"pinging container registry {registry.host}: {words}")


# -- TLS ------------------------------------------------------------------------------------------------


def test_a_registry_whose_certificate_is_unknown(tls_registry: Any, stage: Any) -> None:
    tls_registry.put_image(CONFIG)
    staged = stage(tls_registry, insecure=False)
    assert staged.status == 2
    assert staged.cause == (
        f'pinging container registry {tls_registry.host}: Get "https://{tls_registry.host}/v2/": '
        "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    )
    assert tls_registry.asked == []


def test_one_that_the_image_trusts(
    tls_registry: Any, tls_identity: Any, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls_registry.put_image(CONFIG)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_identity.ca_file))
    staged = stage(tls_registry, insecure=False)
    assert (staged.status, staged.err) == (0, "")


def test_an_insecure_one_is_not_verified_but_encrypted(tls_registry: Any, stage: Any) -> None:
    tls_registry.put_image(CONFIG)
    assert stage(tls_registry).status == 0
    assert tls_registry.asked != []


def test_another_ones_insecurity_is_of_no_use(registry: Any, another_registry: Any, stage: Any) -> None:
    registry.put_image(CONFIG)
    staged = stage(registry, f"-insecureDockerRegistries={another_registry.host}", insecure=False)
    assert staged.status == 2
    assert f"insecure registries [{another_registry.host}] due to " in staged.err
    assert registry.asked == []


# -- a real one -----------------------------------------------------------------------------------------


@pytest.fixture
def real_registry(tmp_path: Path) -> Iterator[str]:
    """Docker's own registry; its address."""
    program = shutil.which("docker-registry")
    assert program is not None, "Debian's package docker-registry is needed"
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{end.getsockname()[1]}"
    (tmp_path / "registry.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/storage}}}}\nhttp: {{addr: {address}}}\n"
    )
    with subprocess.Popen(
        [program, "serve", str(tmp_path / "registry.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        host, _, port = address.partition(":")
        while True:
            try:
                socket.create_connection((host, int(port)), 5).close()
                break
            except ConnectionRefusedError:
                assert running.poll() is None, "the registry ended instead of listening"
        try:
            yield address
        finally:
            running.terminate()


def put(url: str, content: bytes, kind: str) -> None:
    request = urllib.request.Request(url, content, {"Content-Type": kind}, method="PUT")
    with urllib.request.urlopen(request, timeout=20) as done:
        assert done.status == 201


def push(address: str, config: bytes) -> str:
    """The digest of the pushed blob."""
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    start = urllib.request.Request(f"http://{address}/v2/team/app/blobs/uploads/", b"", method="POST")
    with urllib.request.urlopen(start, timeout=20) as begun:
        location = begun.headers["Location"]
    put(f"{location}&digest={digest}", config, "application/octet-stream")
    return digest


@pytest.mark.parametrize("by_digest", [False, True])
@pytest.mark.parametrize("index", [False, True])
def test_dockers_own_registry(by_digest: bool, index: bool, real_registry: str, stage: Any) -> None:
    layer = push(real_registry, b"a layer")
    config = json.dumps(
        {"architecture": ARCHITECTURE, "os": "linux", "config": CONFIG}
        | {"rootfs": {"type": "layers", "diff_ids": [layer]}}
    ).encode()
    oci = "application/vnd.oci.image."
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{oci}manifest.v1+json",
            "config": {
                "mediaType": f"{oci}config.v1+json",
                "size": len(config),
                "digest": push(real_registry, config),
            },
            "layers": [{"mediaType": f"{oci}layer.v1.tar+gzip", "size": 7, "digest": layer}],
        }
    ).encode()
    kind = f"{oci}manifest.v1+json"
    if index:
        platform = {"os": "linux", "architecture": ARCHITECTURE}
        entry = {"mediaType": kind, "size": len(manifest), "platform": platform}
        entry["digest"] = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        put(f"http://{real_registry}/v2/team/app/manifests/one", manifest, kind)
        kind = f"{oci}index.v1+json"
        manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}).encode()
    put(f"http://{real_registry}/v2/team/app/manifests/v1", manifest, kind)

    class There:
        host = real_registry

    version = f"@sha256:{hashlib.sha256(manifest).hexdigest()}" if by_digest else ":v1"
    staged = stage(There, version=version)
    assert (staged.status, staged.err) == (0, "")
    assert staged.result["execution_metadata"] == METADATA
    assert staged.result["lifecycle_metadata"]["docker_image"] == f"{real_registry}/team/app{version}"


def test_what_dockers_own_registry_does_not_have(real_registry: str, stage: Any) -> None:
    class There:
        host = real_registry

    staged = stage(There, version=":none")
    assert staged.status == 2
    assert staged.cause == f"reading manifest none in {real_registry}/team/app: manifest unknown"
