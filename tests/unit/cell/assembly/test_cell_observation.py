"""States that a scrape shows: certificates, the component log, the delay of the event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from cell.assembly.catalogue import ALL, CERTIFICATE_EXPIRY, COMPONENT_LOG_LOST, INFO, LOOP_LAG
from cell.assembly.logwriter import LogWriter
from cell.assembly.observation import certificate_files, observed
from cell.development.certs import Authority
from common.metrics.families import Family
from common.metrics.instruments import FamilyValues, Instruments
from rep.config import RepConfig, parse
from tests.support.waiting import until

pytestmark = pytest.mark.unit


def collected(instruments: Instruments) -> dict[Family, FamilyValues]:
    return {each.family: each for each in instruments.collect()}


async def test_a_cell_says_which_it_is() -> None:
    instruments = Instruments(ALL)
    async with observed(RepConfig(cell_id="cell-7", zone="z3"), instruments, ()):
        [(labels, number)] = collected(instruments)[INFO].numbers.items()
    assert (labels[:2], number) == (("cell-7", "z3"), 1)
    assert labels[2][0].isdecimal()


async def test_the_end_of_a_certificate_follows_its_file(tmp_path: Path) -> None:
    authority = Authority.create("ca")
    files = authority.issue(tmp_path / "rep", "rep", lifetime=timedelta(days=30))
    config = parse(json.dumps({"cell_id": "c", "cert_file": str(files.cert_file)}))
    assert certificate_files(config) == {"rep": files.cert_file}
    instruments = Instruments()

    def days_left() -> float:
        return (collected(instruments)[CERTIFICATE_EXPIRY].numbers["rep",] - time.time()) / 86400

    async with observed(config, instruments, ()):
        assert days_left() == pytest.approx(30, abs=0.1)
        renewed = authority.issue(tmp_path / "renewed", "rep", lifetime=timedelta(days=90))
        os.replace(renewed.cert_file, files.cert_file)
        os.utime(files.cert_file, ns=(1, 1))
        assert days_left() == pytest.approx(90, abs=0.1)
        files.cert_file.unlink()
        assert days_left() == pytest.approx(90, abs=0.1)


async def test_lost_lines_of_the_component_log_are_counted() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, True)
    writer = LogWriter(writing, capacity=200, close_limit_s=0.0)
    logging.getLogger().addHandler(writer)
    instruments = Instruments()
    try:
        for _ in range(100):
            writer.handle(logging.LogRecord("x", logging.INFO, __file__, 1, "y" * 5000, None, None))
        async with observed(RepConfig(), instruments, ()):
            assert collected(instruments)[COMPONENT_LOG_LOST].numbers[()] == 100
    finally:
        logging.getLogger().removeHandler(writer)
        os.close(writing)
        os.close(reading)
        writer.close()


async def test_a_blocked_event_loop_is_seen() -> None:
    instruments = Instruments()

    def slow() -> int:
        values = collected(instruments).get(LOOP_LAG)
        return sum(values.distributions[()].counts[-6:]) if values else 0  # above 0.25 s

    async with observed(RepConfig(), instruments, ()):
        for _ in range(5):
            await asyncio.sleep(0.05)
            time.sleep(0.4)  # noqa: ASYNC251 - blocks the event loop
        await until(slow)
