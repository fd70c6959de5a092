"""Recorded cases of the address that a health check connects to, each in a matching network."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import netns

from tests.docker.bundle.golden import recorded

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

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
    """A listener in the container's network namespace."""
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
