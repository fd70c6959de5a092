"""Free ports for servers with a fixed port."""

from __future__ import annotations

import socket

import pytest

from cell.development.freeport import free_port
from executor.network.sysctl import outgoing_ports

pytestmark = pytest.mark.unit


def test_no_connection_gets_it_meanwhile() -> None:
    (first, _), _ = outgoing_ports()
    assert all(free_port() < first for _ in range(20))


def test_one_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = free_port()
    other = free_port()
    monkeypatch.setattr("random.sample", lambda _range, *, k: [taken, other])
    with socket.create_server(("127.0.0.1", taken)):
        assert free_port() == other


def test_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.sample", lambda _range, *, k: [])
    with pytest.raises(OSError, match="no free port below"):
        free_port()
