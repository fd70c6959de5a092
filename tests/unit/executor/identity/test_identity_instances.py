"""Directories, first credentials, renewals and removals of instances; the pool of keys."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from executor.config import ExecutorConfig
from executor.engine.api import BindMount
from executor.identity.authority import Authority, IdentityError, private_pem
from executor.identity.files import CredentialFiles
from executor.identity.instances import InstanceIdentity, NoIdentity, configured_identity
from executor.identity.keys import GENERATORS, KeyPool
from executor.model import Container
from executor.telemetry.meter import Meter
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

Instance = Callable[..., Container]
VALIDITY_S = 80.0


class Alarm:
    """A sleep that the test ends."""

    def __init__(self) -> None:
        self.asleep = asyncio.Condition()
        self.delays: list[float] = []
        self._wake = asyncio.Event()

    async def sleep(self, delay_s: float) -> None:
        async with self.asleep:
            self.delays.append(delay_s)
            self.asleep.notify_all()
        await self._wake.wait()
        self._wake.clear()

    def ring(self) -> None:
        self._wake.set()

    async def slept(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE_S), self.asleep:
            await self.asleep.wait_for(lambda: len(self.delays) >= times)


@asynccontextmanager
async def running(identity: InstanceIdentity) -> AsyncIterator[None]:
    task = asyncio.create_task(identity.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def alarm() -> Alarm:
    return Alarm()


@pytest.fixture
def identity(authority: Authority, tmp_path: Path, meter: Meter, alarm: Alarm) -> InstanceIdentity:
    return InstanceIdentity(
        authority,
        KeyPool(GENERATORS["ecdsa"], ready=2, threads=1),
        CredentialFiles(str(tmp_path / "creds")),
        validity_s=VALIDITY_S,
        meter=meter,
        sleep=alarm.sleep,
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_container_gets_a_directory_and_two_variables(
    identity: InstanceIdentity, instance: Instance, tmp_path: Path
) -> None:
    mounts = await identity.prepare(instance())
    directory = tmp_path / "creds" / "ig"
    assert mounts == (
        BindMount(source=str(directory), target="/etc/cf-instance-credentials", read_only=True),
    )
    assert identity.env == (
        ("CF_INSTANCE_CERT", "/etc/cf-instance-credentials/instance.crt"),
        ("CF_INSTANCE_KEY", "/etc/cf-instance-credentials/instance.key"),
    )
    assert (mode(directory), mode(directory.parent)) == (0o755, 0o700)


async def test_a_directory_is_never_used_twice(identity: InstanceIdentity, instance: Instance) -> None:
    await identity.prepare(instance())
    with pytest.raises(IdentityError, match=r"credentials of instance ig: .*exists"):
        await identity.prepare(instance())
    await identity.remove("ig")
    await identity.remove("ig")
    await identity.prepare(instance())


async def test_credentials_are_made_and_renewed(
    identity: InstanceIdentity, instance: Instance, tmp_path: Path, meter: Meter, alarm: Alarm
) -> None:
    await identity.prepare(instance())
    runner = identity.runner(instance())
    certificate, key = (tmp_path / "creds" / "ig" / name for name in ("instance.crt", "instance.key"))
    seen = []
    async with running(identity):
        task = asyncio.create_task(runner.run())
        for times in (1, 2):
            await alarm.slept(times)
            assert runner.ready.is_set()
            leaf, _ = x509.load_pem_x509_certificates(certificate.read_bytes())
            private = serialization.load_pem_private_key(key.read_bytes(), password=None)
            assert private.public_key() == leaf.public_key()
            seen.append(leaf.serial_number)
            alarm.ring()
        task.cancel()
        await asyncio.wait({task})
    assert len({*seen}) == 2
    assert sorted(path.name for path in certificate.parent.iterdir()) == ["instance.crt", "instance.key"]
    assert (mode(certificate), mode(key)) == (0o644, 0o644)
    assert all(VALIDITY_S * 5 / 6 <= delay <= VALIDITY_S * 7 / 8 for delay in alarm.delays)
    snapshot = meter.snapshot()
    assert snapshot.counters == {"CredCreationSucceededCount": len(alarm.delays)}
    assert snapshot.gauges["CredCreationSucceededDuration"].value > 0


@pytest.mark.parametrize("torn", [False, True])
async def test_an_adopted_container_keeps_its_credentials_until_they_are_due(
    identity: InstanceIdentity, instance: Instance, tmp_path: Path, alarm: Alarm, torn: bool
) -> None:
    """torn: a kill between the two renames left a new key beside the previous certificate."""
    await identity.prepare(instance())
    certificate, key = (tmp_path / "creds" / "ig" / name for name in ("instance.crt", "instance.key"))
    contents = []
    async with running(identity):
        for life in (1, 2):
            task = asyncio.create_task(identity.runner(instance()).run())
            await alarm.slept(life)
            contents.append(certificate.read_bytes())
            task.cancel()
            await asyncio.wait({task})
            if torn:
                key.write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1())))
    assert (contents[0] == contents[1]) is not torn
    assert alarm.delays[1] <= VALIDITY_S * 7 / 8


async def test_a_runner_that_was_cancelled_writes_nothing_any_more(
    identity: InstanceIdentity, instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a key could be put in a directory that is being removed, and stay."""
    begun, go_on = threading.Event(), threading.Event()
    replace = CredentialFiles.replace

    def slowly(self: CredentialFiles, guid: str, *, certificate: bytes, key: bytes) -> None:
        begun.set()
        go_on.wait(10)
        replace(self, guid, certificate=certificate, key=key)

    monkeypatch.setattr(CredentialFiles, "replace", slowly)
    await identity.prepare(instance())
    async with running(identity):
        task = asyncio.create_task(identity.runner(instance()).run())
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        await asyncio.wait({task})
    assert task.cancelled()
    assert go_on.is_set()
    assert len([*(tmp_path / "creds/ig").iterdir()]) == 2
    await identity.remove("ig")


async def test_a_runner_that_cannot_write_ends(
    identity: InstanceIdentity, instance: Instance, meter: Meter
) -> None:
    runner = identity.runner(instance())
    async with running(identity):
        with pytest.raises(IdentityError, match=r"credentials of instance ig: no such file"):
            await runner.run()
    assert not runner.ready.is_set()
    assert meter.snapshot().counters == {"CredCreationFailedCount": 1}


async def test_only_the_containers_that_are_left_keep_theirs(
    identity: InstanceIdentity, instance: Instance, tmp_path: Path
) -> None:
    await identity.retain({"ig"})
    await identity.prepare(instance())
    await identity.prepare(instance(guid="gone"))
    await identity.retain({"ig"})
    assert [path.name for path in (tmp_path / "creds").iterdir()] == ["ig"]


@pytest.mark.parametrize("guid", ["", ".", "..", "a/b"])
async def test_a_guid_that_names_no_directory(
    identity: InstanceIdentity, instance: Instance, guid: str
) -> None:
    with pytest.raises(IdentityError, match="is not a guid"):
        await identity.prepare(instance(guid=guid))
    with pytest.raises(IdentityError, match="is not a guid"):
        await identity.remove(guid)


async def test_keys_are_made_ahead_and_given_out_once() -> None:
    made: list[ec.EllipticCurvePrivateKey] = []

    def make() -> ec.EllipticCurvePrivateKey:
        made.append(ec.generate_private_key(ec.SECP256R1()))
        return made[-1]

    pool = KeyPool(make, ready=3, threads=2)
    task = asyncio.create_task(pool.run())
    async with asyncio.timeout(PATIENCE_S):
        taken = [await pool.take() for _ in range(20)]
    task.cancel()
    await asyncio.wait({task})
    assert len({id(key) for key in taken}) == 20
    assert len(made) <= 20 + 3 + 2


async def test_keys_are_made_at_the_lowest_priority_unless_somebody_waits() -> None:
    priorities: list[int] = []
    may_make, made = threading.Semaphore(1), threading.Semaphore(0)

    def make() -> ec.EllipticCurvePrivateKey:
        may_make.acquire()
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        made.release()
        return ec.generate_private_key(ec.SECP256R1())

    pool = KeyPool(make, ready=1, threads=1)
    run = asyncio.create_task(pool.run())
    await asyncio.to_thread(made.acquire)
    async with asyncio.timeout(PATIENCE_S):
        await pool.take()
        waiting = [asyncio.create_task(pool.take()) for _ in range(2)]
        may_make.release(3)
        await asyncio.gather(*waiting)
    may_make.release(2)
    run.cancel()
    await asyncio.wait({run})
    assert (priorities[0], priorities[2]) == (19, 0)


async def test_the_configuration_decides(ca_files: tuple[str, str], tmp_path: Path) -> None:
    assert isinstance(configured_identity(ExecutorConfig(), Meter()), NoIdentity)
    config = ExecutorConfig(
        instance_identity_cred_dir=str(tmp_path),
        instance_identity_ca_path=ca_files[0],
        instance_identity_private_key_path=ca_files[1],
        instance_identity_key_type="ecdsa",
    )
    assert isinstance(configured_identity(config, Meter()), InstanceIdentity)


async def test_a_cell_without_identities_gives_nothing(instance: Instance) -> None:
    identity = NoIdentity()
    assert (await identity.prepare(instance()), identity.env) == ((), ())
    assert identity.runner(instance()) is None
