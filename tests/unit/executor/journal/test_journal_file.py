"""The journal's file: stored rows, their order, and damaged or foreign files."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from executor.journal import schema
from executor.journal.api import (
    ContainerRow,
    Contents,
    DeleteContainer,
    DeleteFact,
    DeleteOutcome,
    FactRow,
    FailureReason,
    JournalError,
    OutcomeRow,
    Put,
    StepRow,
)
from executor.journal.opening import BOOT_FACT, DISTRIBUTION, KEPT_ASIDE, VERSION_FACT, Finding
from executor.journal.sqlite import FILE_NAME, SQLiteJournal
from tests.support.journals import FailingJournal
from tests.support.thorough import sampled
from tests.unit.executor.journal.conftest import BOOT, rows_of

pytestmark = pytest.mark.unit

MANY = 40
OWN_FACTS = {BOOT_FACT: BOOT.encode(), VERSION_FACT: version(DISTRIBUTION).encode()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def journal(folder: Path, boot_id: str = BOOT) -> SQLiteJournal:
    return SQLiteJournal(folder, boot_id=boot_id, retry_s=0.01)


async def stored(folder: Path) -> Contents:
    async with journal(folder) as opened:
        return opened.contents


async def filled(folder: Path, number: int = MANY) -> Contents:
    """The contents of a new journal with rows of every table."""
    async with journal(folder) as opened:
        for each in range(number):
            await opened.write(*rows_of(each))
    return await stored(folder)


async def test_rows_survive_the_end_of_the_agent_in_both_implementations(folder: Path) -> None:
    memory = FailingJournal()
    async with journal(folder) as file:
        assert file.report.finding is Finding.NEW
        for each in (file, memory):
            for number in range(3):
                await each.write(*rows_of(number))
            await each.write(Put(StepRow(guid="container-0", path="action/run", ended=True)))
            await each.write(Put(OutcomeRow(guid="container-0", value=b"again")))
            await each.write(DeleteContainer("container-1"), DeleteFact("fact-1"))
            await each.write(DeleteOutcome("container-2"))
    async with journal(folder) as again:
        assert again.report.finding is Finding.SOUND
        found = again.contents
    expected = FailingJournal(memory.rows).contents
    assert {**found.facts} == {**OWN_FACTS, **expected.facts}
    for name in ("containers", "steps", "outcomes"):
        assert getattr(found, name) == getattr(expected, name)
    assert [row.guid for row in found.steps] == ["container-2", "container-0"]
    assert [row.guid for row in found.outcomes] == ["container-0", "container-1"]


async def test_the_files_are_private(folder: Path) -> None:
    async with journal(folder) as opened:
        await opened.write(*rows_of(0))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {FILE_NAME: 0o600, f"{FILE_NAME}-wal": 0o600}


async def test_a_boot_in_between_is_noticed(folder: Path) -> None:
    found = []
    for boot in ("a", "a", "b"):
        async with journal(folder, boot) as opened:
            found.append(opened.same_boot)
    assert found == [False, True, False]


async def test_writes_side_by_side_are_stored_in_the_order_of_their_calls(folder: Path) -> None:
    async with journal(folder) as opened:
        await asyncio.gather(
            *(opened.write(Put(FactRow(key="last", value=str(number).encode()))) for number in range(1000))
        )
    assert (await stored(folder)).facts["last"] == b"999"


async def test_an_empty_write_waits_for_all_that_was_posted_before(folder: Path) -> None:
    async with journal(folder) as opened:
        for number in range(1000):
            opened.post(Put(FactRow(key="last", value=str(number).encode())))
        await opened.write()
        assert (await stored(folder)).facts["last"] == b"999"


async def test_a_key_that_cannot_be_stored_is_the_error_of_its_caller_only(folder: Path) -> None:
    async with journal(folder) as opened:
        for call in (opened.write, opened.record):
            with pytest.raises(UnicodeEncodeError):
                await call(Put(ContainerRow(guid="bad \udcff", value=b"")))
            with pytest.raises(UnicodeEncodeError):
                await call(DeleteOutcome("bad \udcff"))
        await opened.write(*rows_of(1))
    assert [row.guid for row in (await stored(folder)).containers] == ["container-1"]


async def test_a_closed_journal_refuses_writes(folder: Path) -> None:
    async with journal(folder) as opened:
        pass
    for call in (opened.write, opened.record):
        with pytest.raises(JournalError) as caught:
            await call(*rows_of(0))
        assert caught.value.failure is FailureReason.CLOSED


async def test_what_is_queued_is_stored_before_the_journal_closes(folder: Path) -> None:
    async with journal(folder) as opened:
        writing = [asyncio.create_task(opened.write(*rows_of(number))) for number in range(50)]
        await asyncio.sleep(0)
    await asyncio.gather(*writing)
    assert len((await stored(folder)).containers) == 50


async def test_the_file_of_a_newer_version_is_refused_and_kept(folder: Path) -> None:
    await filled(folder, 1)
    newer = schema.SCHEMA_VERSION + 1
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        connection.execute(f"PRAGMA user_version={newer}")
        connection.execute(f"PRAGMA application_id={schema.mark(newer)}")
    before = (folder / FILE_NAME).read_bytes()
    with pytest.raises(
        JournalError, match=rf"start that version again.*schema {newer}, written by version \d"
    ) as caught:
        await stored(folder)
    assert not caught.value.retryable
    assert (folder / FILE_NAME).read_bytes() == before


async def test_every_earlier_schema_is_migrated_to_the_present_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(folder, 2)
    later = (*schema.MIGRATIONS, ("CREATE TABLE later (name TEXT)",), ("INSERT INTO later VALUES ('x')",))
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", len(later))
    async with journal(folder) as opened:
        assert opened.report.finding is Finding.MIGRATED
        assert len(opened.contents.containers) == 2
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        assert connection.execute("SELECT * FROM later").fetchall() == [("x",)]
    async with journal(folder) as opened:
        assert opened.report.finding is Finding.SOUND


PAGE = 4096
FLIPS = sampled(range(0, PAGE, 16), 12)
HEADER = range(100)


async def test_a_changed_byte_anywhere_is_noticed_or_harmless(folder: Path) -> None:
    """Never do other rows come back than were written."""
    expected = await filled(folder, 12)
    original = (folder / FILE_NAME).read_bytes()
    damaged = 0
    for offset in (*HEADER, *(page + flip for page in range(0, len(original), PAGE) for flip in FLIPS)):
        for path in folder.iterdir():
            path.unlink()
        changed = bytearray(original)
        changed[offset] ^= 0x41
        (folder / FILE_NAME).write_bytes(changed)
        async with journal(folder) as opened:
            report = opened.report
            if report.finding is Finding.DAMAGED:
                damaged += 1
                assert report.kept_aside is not None
                assert report.kept_aside.read_bytes() == bytes(changed)
                assert report.detail
                assert opened.contents == Contents(facts=OWN_FACTS) or not opened.contents.facts
            else:
                assert report.finding is Finding.SOUND, (offset, report)
                assert opened.contents == expected, offset
            try:
                await opened.write(*rows_of(99))
            except JournalError as error:
                pytest.fail(f"offset {offset}: {error}")
    assert damaged > 50


async def test_a_truncated_file_is_kept_aside(folder: Path) -> None:
    await filled(folder)
    original = (folder / FILE_NAME).read_bytes()
    for size in (1, 99, 100, PAGE, *range(PAGE + 100, len(original) - 1, PAGE)):
        for path in folder.iterdir():
            path.unlink()
        (folder / FILE_NAME).write_bytes(original[:size])
        async with journal(folder) as opened:
            assert opened.report.finding is Finding.DAMAGED, size
            await opened.write(*rows_of(1))
        assert len((await stored(folder)).containers) == 1


async def test_a_file_that_is_no_database_is_kept_aside_under_a_name_with_a_time(folder: Path) -> None:
    folder.mkdir()
    for number in range(KEPT_ASIDE + 2):
        (folder / FILE_NAME).write_text(f"this is no database {number}\n" * 50)
        async with journal(folder) as opened:
            kept = opened.report.kept_aside
        assert kept is not None
        assert kept.name.startswith(f"{FILE_NAME}.damaged-20")
    assert len(list(folder.glob("*.damaged-*"))) == KEPT_ASIDE
    assert kept is not None
    assert f"no database {KEPT_ASIDE + 1}" in kept.read_text()


async def test_an_empty_file_is_a_new_one(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / FILE_NAME).touch()
    async with journal(folder) as opened:
        assert opened.report.finding is Finding.NEW
        await opened.write(Put(ContainerRow(guid="a", value=b"")))


async def test_a_link_in_the_place_of_the_file_is_not_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(mode=0o700)
    target = tmp_path / "elsewhere"
    target.write_text("untouched")
    (folder / FILE_NAME).symlink_to(target)
    async with journal(folder) as opened:
        assert opened.report.finding is Finding.DAMAGED
        await opened.write(*rows_of(0))
    assert target.read_text() == "untouched"
