"""A journal with a failing disk, and an agent killed during a write."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.journal import sqlite
from executor.journal.api import ContainerRow, DeleteContainer, FailureReason, JournalError, Put, StepRow
from executor.journal.opening import Finding
from executor.journal.sqlite import SQLiteJournal
from tests.support.journals import FailingJournal, Fault
from tests.support.smalldisks import SmallDisk, small_disk
from tests.support.thorough import THOROUGH
from tests.support.waiting import until
from tests.unit.executor.journal.conftest import BOOT, rows_of

pytestmark = pytest.mark.unit

KILLS = 200 if THOROUGH else 20

WRITER = """
import asyncio, sys
from pathlib import Path
from executor.journal.sqlite import SQLiteJournal
from tests.unit.executor.journal.conftest import BOOT, rows_of

async def write(journal, lane):
    number = lane
    while True:
        await journal.write(*rows_of(number))
        print(number, flush=True)
        number += 4

async def main():
    async with SQLiteJournal(Path(sys.argv[1]), boot_id=BOOT) as journal:
        await asyncio.gather(*(write(journal, lane) for lane in range(4)))

asyncio.run(main())
"""


def test_a_kill_loses_no_row_that_was_answered_and_splits_no_write(tmp_path: Path) -> None:
    async def read() -> tuple[set[int], Finding]:
        async with SQLiteJournal(tmp_path / "journal", boot_id=BOOT) as journal:
            tables = journal.contents
            names = [
                {row.guid for row in tables.containers},
                {row.guid for row in tables.steps},
                {row.guid for row in tables.outcomes},
                {key.replace("fact", "container") for key in tables.facts if key.startswith("fact-")},
            ]
            assert all(each == names[0] for each in names)
            return {int(name.removeprefix("container-")) for name in names[0]}, journal.report.finding

    answered: set[int] = set()
    for kill in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "journal")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(1 + 7 * kill % 31):
                answered.add(int(process.stdout.readline()))
            os.kill(process.pid, signal.SIGKILL)
            answered |= {int(line) for line in process.stdout if line.endswith("\n")}
        found, finding = asyncio.run(read())
        assert finding is Finding.SOUND
        assert answered <= found


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", "1m") as made:
        yield made


async def condition(journal: SQLiteJournal, failure: FailureReason | None) -> None:
    await until(lambda: journal.failure is failure)


def opened(folder: Path) -> SQLiteJournal:
    return SQLiteJournal(folder, boot_id=BOOT, retry_s=0.01)


async def test_a_disk_that_fills_refuses_intents_and_keeps_results_for_later(disk: SmallDisk) -> None:
    folder = disk.place / "journal"
    async with opened(folder) as journal:
        await journal.write(*rows_of(0))
        filler = disk.fill()
        with pytest.raises(JournalError, match="disk is full: free some space") as caught:
            await journal.write(*rows_of(1, 100_000))
        assert caught.value.retryable
        await journal.record(
            Put(StepRow(guid="container-0", path="action/run", ended=True, value=bytes(100_000)))
        )
        assert journal.failure is FailureReason.FULL
        filler.unlink()
        await condition(journal, None)
        await journal.write(*rows_of(2))
    async with opened(folder) as journal:
        assert journal.report.finding is Finding.SOUND
        assert {row.guid for row in journal.contents.containers} == {"container-0", "container-2"}
        assert journal.contents.steps[0].value == bytes(100_000)


async def test_a_full_disk_fails_the_barrier_and_keeps_what_was_posted(disk: SmallDisk) -> None:
    folder = disk.place / "journal"
    async with opened(folder) as journal:
        filler = disk.fill()
        journal.post(*rows_of(1, 100_000))
        with pytest.raises(JournalError, match="disk is full"):
            await journal.write()
        filler.unlink()
        await condition(journal, None)
        await journal.write()
    async with opened(folder) as journal:
        assert [row.guid for row in journal.contents.containers] == ["container-1"]


async def test_what_waits_for_a_full_disk_does_not_grow_with_repeated_changes(disk: SmallDisk) -> None:
    folder = disk.place / "journal"
    async with opened(folder) as journal:
        await journal.write(*rows_of(0), *rows_of(1))
        filler = disk.fill()
        for number in range(200):
            journal.post(Put(ContainerRow(guid="container-0", value=b"%d" % number + bytes(100_000))))
            journal.post(DeleteContainer("container-1"))
        with pytest.raises(JournalError, match="disk is full"):
            await journal.write()
        waiting = [value for _, values in journal._backlog for value in values if isinstance(value, bytes)]
        assert sum(map(len, waiting)) < 200_000
        filler.unlink()
        await journal.write()
    async with opened(folder) as journal:
        (row,) = journal.contents.containers
        assert row.value.startswith(b"199")


async def test_a_journal_recovers_without_anything_to_write(disk: SmallDisk) -> None:
    """An unhealthy cell gets no work, so nothing else would show that there is space again."""
    async with opened(disk.place / "journal") as journal:
        filler = disk.fill()
        with pytest.raises(JournalError, match="disk is full"):
            await journal.write(*rows_of(1, 100_000))
        filler.unlink()
        await condition(journal, None)


async def test_an_agent_starts_on_a_full_disk_with_what_was_stored(disk: SmallDisk) -> None:
    folder = disk.place / "journal"
    async with opened(folder) as journal:
        await journal.write(*rows_of(0))
    filler = disk.fill()
    async with opened(folder) as journal:
        assert [row.guid for row in journal.contents.containers] == ["container-0"]
        with pytest.raises(JournalError):
            await journal.write(*rows_of(1, 100_000))
        filler.unlink()
        await journal.write(*rows_of(1))
        assert journal.failure is None


async def test_an_agent_starts_on_a_full_disk_without_a_file(disk: SmallDisk) -> None:
    filler = disk.fill()
    async with opened(disk.place / "journal") as journal:
        assert journal.report.finding in (Finding.UNWRITABLE, Finding.UNREADABLE)
        assert journal.failure in (FailureReason.FULL, FailureReason.IO)
        filler.unlink()
        await condition(journal, None)
        await journal.write(*rows_of(0))
    async with opened(disk.place / "journal") as journal:
        assert journal.same_boot
        assert [row.guid for row in journal.contents.containers] == ["container-0"]


async def test_an_agent_starts_on_a_read_only_file_system(disk: SmallDisk) -> None:
    folder = disk.place / "journal"
    async with opened(folder) as journal:
        await journal.write(*rows_of(0))
    disk.remount("ro")
    async with opened(folder) as journal:
        assert (journal.report.finding, journal.failure) == (Finding.UNWRITABLE, FailureReason.READ_ONLY)
        assert [row.guid for row in journal.contents.containers] == ["container-0"]
        with pytest.raises(JournalError, match="read-only: make it writable"):
            await journal.write(*rows_of(1))
        disk.remount("rw")
        await journal.write(*rows_of(1))
        assert journal.failure is None


async def test_a_disk_that_hangs_fails_the_intent_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    commit = sqlite._commit

    def hanging(*arguments: object) -> None:
        gate.wait(10)
        commit(*arguments)  # type: ignore[arg-type]

    async with SQLiteJournal(tmp_path / "journal", boot_id=BOOT, stall_s=0.1) as journal:
        monkeypatch.setattr(sqlite, "_commit", hanging)
        with pytest.raises(JournalError, match="does not answer"):
            await journal.write(*rows_of(0))
        assert journal.failure is FailureReason.STALLED
        await journal.record(*rows_of(1))
        gate.set()
        await condition(journal, None)
    async with opened(tmp_path / "journal") as journal:
        assert {row.guid for row in journal.contents.containers} == {"container-0", "container-1"}


@pytest.mark.parametrize("failure", [FailureReason.FULL, FailureReason.READ_ONLY, FailureReason.IO])
async def test_the_failing_journal_fails_as_asked(failure: FailureReason) -> None:
    journal = FailingJournal()
    journal.fault = Fault(failure, skip=1, times=2)
    await journal.write(*rows_of(0))
    with pytest.raises(JournalError) as caught:
        await journal.write(*rows_of(1))
    assert caught.value.failure is failure
    await journal.record(*rows_of(2))
    assert sorted(journal.rows.containers) == ["container-0"]
    await journal.write(*rows_of(3))
    assert sorted(journal.rows.containers) == ["container-0", "container-2", "container-3"]


async def test_the_failing_journal_hangs_as_asked() -> None:
    journal = FailingJournal()
    journal.fault = Fault(None)
    writing = asyncio.create_task(journal.write(*rows_of(0)))
    await asyncio.sleep(0)
    assert not writing.done()
    journal.fault.gate.set()
    await writing
