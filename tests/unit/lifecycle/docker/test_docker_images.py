"""Docker references, ports and results; credentials of Amazon ECR."""

from __future__ import annotations

import base64
import json

import pytest

from lifecycle.docker import ecr
from lifecycle.docker.metadata import PortError, ports, result_json
from lifecycle.docker.reference import BadReference, parse
from lifecycle.docker.registry import Credentials

pytestmark = pytest.mark.unit

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "registry", "image"),
    [
        ("redis", "", "library/redis", "latest", "registry-1.docker.io", "library/redis:latest"),
        ("a/b:v1", "", "a/b", "v1", "registry-1.docker.io", "a/b:v1"),
        ("docker.io/redis", "", "library/redis", "latest", "registry-1.docker.io", "library/redis:latest"),
        ("h.example/x", "h.example", "x", "latest", "h.example", "h.example/x:latest"),
        ("h:5000/a/b:1", "h:5000", "a/b", "1", "h:5000", "h:5000/a/b:1"),
        ("h:5000/a/b", "h:5000", "a/b", "latest", "h:5000", "h:5000/a/b:latest"),
        ("localhost/x", "localhost", "x", "latest", "localhost", "localhost/x:latest"),
        (f"a/b@sha256:{HEX}", "", "a/b@sha256", HEX, "registry-1.docker.io", f"a/b@sha256:{HEX}"),
    ],
)
def test_references(text: str, host: str, repository: str, tag: str, registry: str, image: str) -> None:
    reference = parse(text)
    reference.check()
    assert (reference.host, reference.repository, reference.tag) == (host, repository, tag)
    assert (reference.registry, reference.image) == (registry, image)


def test_a_digest_is_asked_for_by_its_name() -> None:
    reference = parse(f"h:1/a/b@sha256:{HEX}")
    assert (reference.version, reference.full_name) == (f"sha256:{HEX}", "h:1/a/b")
    assert (parse("a/b:v1").version, parse("b").full_name) == ("v1", "docker.io/library/b")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("UPPER/x", "invalid reference format: repository name must be lowercase"),
        ("a/b:-bad", "invalid reference format"),
        ("a/b c", "invalid reference format"),
        ("https://h/x", "invalid reference format"),
        ("a/b@sha256:abc", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a/" + "b" * 256, "repository name must not be more than 255 characters"),
        (
            f"a/b:v1@sha256:{HEX}",
            "Docker references with both a tag and digest are currently not supported",
        ),
    ],
)
def test_references_to_nothing(text: str, cause: str) -> None:
    with pytest.raises(BadReference) as error:
        parse(text).check()
    assert str(error.value) == cause


def test_ports_in_order() -> None:
    exposed: dict[str, object] = {
        "9000": {},
        "53/udp": {},
        "53/tcp": {},
        "81/": {},
        "80/sctp": {},
        "0/tcp": {},
    }
    assert [(port["Port"], port["Protocol"]) for port in ports(exposed)] == [
        (0, "tcp"),
        (53, "tcp"),
        (53, "udp"),
        (80, "sctp"),
        (81, "tcp"),
        (9000, "tcp"),
    ]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("70000/tcp", 'strconv.ParseUint: parsing "70000": value out of range'),
        ("80-90/tcp", 'strconv.ParseUint: parsing "80-90": invalid syntax'),
        ("-1", 'strconv.ParseUint: parsing "-1": invalid syntax'),
        ("/tcp", 'strconv.ParseUint: parsing "": invalid syntax'),
    ],
)
def test_ports_that_are_none(key: str, reason: str) -> None:
    with pytest.raises(PortError) as error:
        ports({key: {}, "1/tcp": {}})
    assert str(error.value) == reason
    assert error.value.ports == "map[" + " ".join(f"{name}:{{}}" for name in sorted([key, "1/tcp"])) + "]"


@pytest.mark.parametrize(
    ("config", "web", "metadata"),
    [
        ({}, "", "{}"),
        ({"Cmd": ["/x", "a b"]}, "/x a b", '{"cmd":["/x","a b"]}'),
        ({"Entrypoint": ["/e"]}, "/e ", '{"entrypoint":["/e"]}'),
        ({"Entrypoint": ["/e"], "Cmd": ["c"]}, "/e c", '{"cmd":["c"],"entrypoint":["/e"]}'),
        (
            {"User": "u", "WorkingDir": "/w", "ExposedPorts": {"1": {}}, "Cmd": None},
            "",
            '{"workdir":"/w","ports":[{"Port":1,"Protocol":"tcp"}],"user":"u"}',
        ),
    ],
)
def test_result(config: dict[str, object], web: str, metadata: str) -> None:
    result = json.loads(result_json("i:t", config))
    assert list(result) == ["lifecycle_type", "lifecycle_metadata", "process_types", "execution_metadata"]
    assert result["process_types"] == {"web": web}
    assert result["execution_metadata"] == metadata


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", True),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", True),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", True),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", False),
        ("registry-1.docker.io", False),
    ],
)
def test_amazons_registries(host: str, is_one: bool) -> None:
    assert ecr.is_ecr(host) is is_one


def test_an_access_key_pair_becomes_registry_credentials() -> None:
    sent: list[tuple[str, dict[str, str], bytes]] = []

    def send(endpoint: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        sent.append((endpoint, headers, body))
        token = base64.b64encode(b"AWS:pass:word").decode()
        return 200, json.dumps({"authorizationData": [{"authorizationToken": token}]}).encode()

    host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    credentials = ecr.exchange(host, Credentials("AKID", "secret"), send, now=0)
    assert credentials == Credentials("AWS", "pass:word")
    endpoint, headers, body = sent[0]
    assert (endpoint, body) == ("api.ecr.eu-west-1.amazonaws.com", b"{}")
    scope = "AKID/19700101/eu-west-1/ecr/aws4_request"
    assert headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=")
    assert headers["x-amz-target"].endswith(".GetAuthorizationToken")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((403, b"no such key"), "status 403: no such key"),
        ((200, b"{}"), "unusable answer: 'authorizationData'"),
        ((200, b"nope"), "unusable answer: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_an_exchange_that_fails(answer: tuple[int, bytes], reason: str) -> None:
    with pytest.raises(ecr.ECRError) as error:
        ecr.exchange("1.dkr.ecr.r.amazonaws.com", Credentials("a", "b"), lambda *_: answer)
    assert str(error.value) == reason
