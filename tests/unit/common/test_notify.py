"""The datagrams to a service manager, on a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import notify
from common.notify import Notifier, stored_descriptors
from tests.support.managers import Manager, manager

pytestmark = pytest.mark.unit


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Manager]:
    with manager(tmp_path) as found:
        yield found


@pytest.fixture
def notifier(systemd: Manager) -> Iterator[Notifier]:
    found = Notifier(systemd.address)
    yield found
    found.close()


def test_the_messages_are_those_of_the_protocol(systemd: Manager, notifier: Notifier) -> None:
    notifier.status("one\nREADY=1  line\t")
    notifier.ready()
    notifier.watchdog()
    notifier.extend_timeout(1.5)
    with notifier.reloading():
        assert systemd.has(RELOADING="1")
        began = int(systemd.received()[-1]["MONOTONIC_USEC"])
        assert 0 < began <= notify.time.monotonic_ns() // 1000
        notifier.stopping()
    assert [message for message in systemd.received() if "RELOADING" not in message] == [
        {"STATUS": "one READY=1 line"},
        {"READY": "1"},
        {"WATCHDOG": "1"},
        {"EXTEND_TIMEOUT_USEC": "1500000"},
        {"STOPPING": "1"},
        {"READY": "1"},
    ]


def test_a_reload_that_fails_is_over_too(systemd: Manager, notifier: Notifier) -> None:
    with pytest.raises(ValueError, match="broken"), notifier.reloading():
        raise ValueError("broken")
    assert systemd.received()[-1] == {"READY": "1"}


def test_an_abstract_socket(tmp_path: Path) -> None:
    name = f"diego-cell-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        notifier = Notifier(f"@{name}")
        notifier.ready()
        notifier.close()
        assert listening.recv(100) == b"READY=1"


def test_the_environment_of_the_manager_is_used_once(systemd: Manager) -> None:
    environ = {
        "NOTIFY_SOCKET": systemd.address,
        "WATCHDOG_USEC": "20000000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    notifier = Notifier.from_environment(environ)
    assert (notifier.enabled, notifier.watchdog_s, environ) == (True, 20.0, {})
    assert not Notifier.from_environment(environ).enabled


@pytest.mark.parametrize(
    "watchdog",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}],
)
def test_nobody_watches_another_process_or_without_a_time(systemd: Manager, watchdog: dict[str, str]) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": systemd.address, **watchdog})
    assert (notifier.enabled, notifier.watchdog_s) == (True, None)


def test_without_a_manager_nothing_is_sent_and_nothing_fails() -> None:
    for environ in ({}, {"NOTIFY_SOCKET": "vsock:1:2"}):
        notifier = Notifier.from_environment(environ)
        notifier.ready()
        assert not notifier.enabled


def test_a_manager_that_is_gone_or_reads_nothing_does_not_hold_up_the_process(
    systemd: Manager, notifier: Notifier, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10_000):
        notifier.watchdog()
    assert 0 < len(systemd.received()) < 10_000
    notifier.ready()
    assert systemd.has(READY="1"), "there is room again"
    caplog.clear()
    gone = Notifier(str(tmp_path / "absent"))
    gone.ready()
    gone.close()
    assert [record.message for record in caplog.records] == ["service-manager-not-notified"]


def test_a_stored_descriptor_is_the_same_socket(systemd: Manager, notifier: Notifier) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        notifier.store("admin", listening.fileno())
        assert systemd.has(FDSTORE="1", FDNAME="admin")
        address = listening.getsockname()
    kept = socket.socket(fileno=os.dup(systemd.descriptors["admin"]))
    with kept, socket.create_connection(address):
        assert kept.getsockname() == address
    notifier.forget("admin")
    assert systemd.has(FDSTOREREMOVE="1", FDNAME="admin")


def test_descriptors_come_back_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    numbers = [os.open(tmp_path, os.O_RDONLY) for _ in range(3)]
    first = numbers[0]
    numbers = [os.dup2(number, first + 100 + place) for place, number in enumerate(numbers)]
    for number in range(first, first + 3):
        os.close(number)
    monkeypatch.setattr(notify, "FIRST_STORED", numbers[0])
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "3", "LISTEN_FDNAMES": "admin:network:admin"}
    found = stored_descriptors(environ)
    assert (found, environ) == ({"admin": numbers[0], "network": numbers[1]}, {})
    assert [os.get_inheritable(number) for number in found.values()] == [False, False]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(numbers[2])
    for number in found.values():
        os.close(number)
    other = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    assert (stored_descriptors(other), other) == ({}, {}), "those of another process are not ours"
