"""Every recorded case of the in-container programs, in containers of very different root file systems.

The cases run inside the container, started by the bundle's own interpreter: nothing else can be counted on
there.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyroute2 import netns

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[3]
GOLDEN = REPOSITORY / "tests/golden/lifecycle"
FILES = (
    "healthcheck.json",
    "docker_launcher.json",
    "docker_builder.json",
    "credhub.json",
    "buildpack_launcher.json",
    "buildpack_shell.json",
    "buildpack_builder.json",
)
ADDRESS = "10.99.0.1"
WORKERS = 16

NOTHING, SHELL, BASH, TOOLS = range(4)
"""What a case needs in the image: nothing, /bin/sh with echo and the like, bash, cp and tar and git."""
OFFERS = {"static": NOTHING, "musl": SHELL, "busybox": SHELL, "debian": TOOLS}

MODES = {
    "root": ("/lifecycle", [], slice(None)),
    "unknown-user": ("/opt/a strange/place", ["--user", "4242"], slice(0, None, 3)),
    "read-only": ("/tmp/lifecycle", ["--read-only"], slice(1, None, 3)),
}
"""Mode -> mount point of the bundle, options of the container, which cases: all of them once per root."""


def needs(case: dict[str, Any]) -> int:
    """What the programs that a case starts need."""
    program = case["program"]
    if program in ("healthcheck", "docker builder"):
        return NOTHING
    if program == "docker launcher":
        starts = case["stdout"] or case["exit"] not in (1, 2, 3, 4)
        return SHELL if starts or "f" in case["files"] else NOTHING
    if program == "buildpack builder":
        refused = case["exit"] in (1, 2, 3, 4) and case.get("result_json") is None and not case["files"]
        return NOTHING if refused else TOOLS
    prints = case["exit"] != 0 and not case["stdout"] and not case.get("stderr_contains")
    own = prints and case["exit"] in (1, 2, 3) and "{N}" not in case["stderr"]
    return NOTHING if own else BASH


def recorded() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    for name in FILES:
        cases += json.loads((GOLDEN / name).read_text())
    return cases


@pytest.fixture(scope="session")
def library() -> Path:
    """The whole standard library of the bundle's interpreter, for the runner of the cases."""
    found = sorted((REPOSITORY / ".cache/bundle/unpacked").glob("*/usr/lib/python3.*/threading.py"))
    return found[-1].parent


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, an unrelated one, a server's and a client's key pair."""
    folder = tmp_path_factory.mktemp("certs")
    for name in ("good", "other"):
        (folder / name).mkdir()
    authority = _issue("ca", None)
    other = _issue("other", None)
    _write(folder / "ca", authority)
    _write(folder / "good/x", authority)
    _write(folder / "other/o", other)
    _write(folder / "server", _issue("server", authority))
    _write(folder / "client", _issue("client", authority))
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


_Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _issue(name: str, issuer: _Pair | None) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(local, critical=False)
    )
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def _write(path: Path, pair: _Pair) -> None:
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    path.with_suffix(".crt").write_bytes(pair[0].public_bytes(pem))
    key = pair[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    if path.name in ("server", "client"):
        path.with_suffix(".key").write_bytes(key)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("root", OFFERS)
def test_recorded_cases(
    root: str,
    mode: str,
    box: Callable[..., Any],
    image_of: Callable[[str], str],
    bundle: Path,
    library: Path,
    certificates: Path,
) -> None:
    place, options, part = MODES[mode]
    applicable = [case for case in recorded() if "network" not in case and needs(case) <= OFFERS[root]]
    cases = applicable[part]
    setup = {"cases": cases, "bundle": place, "ip": ADDRESS, "certs": "/certs", "workers": WORKERS}
    mounts = {bundle: place, library: "/stdlib", certificates: "/certs", GOLDEN: "/cases"}
    command = [f"{place}/lib/ld.so", "--library-path", f"{place}/lib", f"{place}/lib/python3", "-S"]
    options = [*options, "-e", "PYTHONPATH=/stdlib"]
    runner = box(image_of(root), [*command, "/cases/run_cases.py"], mounts, options)
    runner.ip("addr", "add", f"{ADDRESS}/32", "dev", "lo")
    out, err = runner.process.communicate(json.dumps(setup))
    assert out, err
    results = json.loads(out)
    assert len(results) == len(cases) > 60
    assert {result["name"]: result["mismatches"] for result in results if result["mismatches"]} == {}


NETWORKS: dict[str, list[list[str]]] = {
    "net-nothing-configured": [["link", "set", "lo", "down"], ["addr", "flush", "dev", "lo"]],
    "net-loopback-only": [],
    "net-second-127-address": [["addr", "add", "127.5.5.5/32", "dev", "lo"]],
    "net-ipv6-only": [["addr", "add", "fd00::5/128", "dev", "lo"]],
    "net-ipv6-then-ipv4": [
        ["addr", "flush", "dev", "lo"],
        ["addr", "add", "fd00::5/128", "dev", "lo"],
        ["addr", "add", "10.99.0.1/32", "dev", "lo"],
    ],
    "net-link-local-counts": [["addr", "flush", "dev", "lo"], ["addr", "add", "169.254.1.1/32", "dev", "lo"]],
    "net-second-address-not-tried": [
        ["addr", "add", "10.99.0.1/32", "dev", "lo"],
        ["addr", "add", "10.99.0.2/32", "dev", "lo"],
    ],
    "net-interface-order-is-index-order": [
        ["link", "add", "v0", "type", "bridge"],
        ["link", "add", "a0", "type", "bridge"],
        ["addr", "add", "10.99.0.7/24", "dev", "v0"],
        ["addr", "add", "10.99.0.8/24", "dev", "a0"],
    ],
    "net-interface-down-counts": [
        ["link", "set", "lo", "down"],
        ["link", "add", "v0", "type", "bridge"],
        ["addr", "add", "10.99.0.7/24", "dev", "v0"],
    ],
}
"""Case -> how its network comes about, starting from lo with 127.0.0.1/8 and ::1/128."""


@contextlib.contextmanager
def listener(pid: int, address: str, port: int) -> Iterator[None]:
    """Somebody listens in the container's network namespace."""
    sockets: list[socket.socket] = []

    def listen() -> None:  # a namespace is a thread's own
        netns.setns(f"/proc/{pid}/ns/net", flags=os.O_RDONLY)
        sockets.append(socket.create_server((address, port)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    try:
        yield
    finally:
        for sock in sockets:
            sock.close()


@pytest.mark.parametrize(
    "case", [case for case in recorded() if "network" in case], ids=lambda case: case["name"]
)
def test_which_address_is_checked(
    case: dict[str, Any], box: Callable[..., Any], image_of: Callable[[str], str], bundle: Path
) -> None:
    container = box(image_of("busybox"), ["/bin/sleep", "60"], {bundle: "/lifecycle"}, [])
    pid = container.pid()
    for arguments in NETWORKS[case["name"]]:
        container.ip(*arguments)
    other = listener(pid, "10.99.0.2", 8080) if "listener on" in case["network"] else None
    with other or contextlib.nullcontext():
        command = ["docker", "exec", container.name, "/lifecycle/healthcheck", *case["args"]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (case["exit"], case["stdout"], case["stderr"])
