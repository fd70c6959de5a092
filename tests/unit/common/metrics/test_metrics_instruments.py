"""Values of metric families, and the text that a scrape gets of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from common.metrics.exposition import page
from common.metrics.families import OTHER, OUTCOME, Label, counter, gauge, histogram
from common.metrics.instruments import Instruments

pytestmark = pytest.mark.unit

FINISHED = counter("diego_cell_finished_total", "Finished things.", Label("colour", ("red", "green")))
PER_DRIVER = counter("diego_cell_per_driver_total", "Things of drivers.", Label("driver", most=2))
LEVEL = gauge("diego_cell_level_bytes", 'A "level", in bytes.')
WORK = histogram("diego_cell_work_seconds", "Time of work.", OUTCOME, buckets=(0.1, 1.0))


async def samples(instruments: Instruments) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = (await page(instruments, "")).body.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


async def test_values_arrive_as_they_were_measured() -> None:
    instruments = Instruments()
    instruments.count(FINISHED, "red")
    instruments.count(FINISHED, "red", by=2)
    instruments.set(LEVEL, 7)
    for seconds in (0.05, 0.1, 0.5, 30):
        instruments.observe(WORK, seconds, "failed")
    found = await samples(instruments)
    assert found["diego_cell_finished_total", (("colour", "red"),)] == 3
    assert found["diego_cell_level_bytes", ()] == 7
    buckets = [
        found["diego_cell_work_seconds_bucket", (("le", le), ("outcome", "failed"))]
        for le in ("0.1", "1.0", "+Inf")
    ]
    assert buckets == [2, 3, 4]
    assert found["diego_cell_work_seconds_sum", (("outcome", "failed"),)] == pytest.approx(30.65)
    assert found["diego_cell_work_seconds_count", (("outcome", "failed"),)] == 4
    assert found["process_resident_memory_bytes", ()] > 0


async def test_counters_with_fixed_labels_exist_before_the_first_event() -> None:
    """Otherwise the first event is no increase, and an alert on the rate misses it."""
    found = await samples(Instruments([FINISHED, PER_DRIVER, LEVEL, WORK]))
    ours = {key: value for key, value in found.items() if key[0].startswith("diego_cell")}
    assert ours == {
        ("diego_cell_finished_total", (("colour", "red"),)): 0,
        ("diego_cell_finished_total", (("colour", "green"),)): 0,
    }


async def test_the_number_of_series_is_bounded() -> None:
    instruments = Instruments()
    for number in range(50):
        instruments.count(PER_DRIVER, f"driver-{number}")
        instruments.count(FINISHED, f"colour-{number}")
    found = await samples(instruments)
    assert {labels: value for (name, labels), value in found.items() if name == PER_DRIVER.name} == {
        (("driver", "driver-0"),): 1,
        (("driver", "driver-1"),): 1,
        (("driver", OTHER),): 48,
    }
    assert found["diego_cell_finished_total", (("colour", OTHER),)] == 50


def test_a_missing_label_is_an_error() -> None:
    with pytest.raises(ValueError, match="diego_cell_finished_total has 1 labels"):
        Instruments().count(FINISHED)


async def test_the_outcome_of_a_block_is_a_label() -> None:
    instruments = Instruments()

    async def cancelled() -> None:
        with instruments.timed(WORK):
            await asyncio.sleep(3600)

    with instruments.timed(WORK):
        pass
    with pytest.raises(OSError, match="no"), instruments.timed(WORK):
        raise OSError("no")
    task = asyncio.create_task(cancelled())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    found = await samples(instruments)
    counts = [
        found["diego_cell_work_seconds_count", (("outcome", outcome),)]
        for outcome in ("succeeded", "failed", "cancelled")
    ]
    assert counts == [1, 1, 1]


async def test_states_are_read_at_the_scrape(caplog: pytest.LogCaptureFixture) -> None:
    """A part that cannot tell its state hides no other."""
    instruments = Instruments()
    levels = iter((1, 2))

    def broken() -> None:
        raise RuntimeError("no state")

    with (
        instruments.refreshed_by(broken),
        instruments.refreshed_by(lambda: instruments.set(LEVEL, next(levels))),
    ):
        first = await samples(instruments)
        second = await samples(instruments)
    third = await samples(instruments)
    values = [found["diego_cell_level_bytes", ()] for found in (first, second, third)]
    assert values == [1, 2, 2]
    assert "metrics-not-refreshed" in caplog.messages


async def test_openmetrics_for_who_asks_for_it() -> None:
    instruments = Instruments()
    instruments.count(FINISHED, "red")
    instruments.observe(WORK, 0.5, "succeeded")
    answer = await page(instruments, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert answer.content_type.startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(answer.body.decode())}
    assert {"diego_cell_finished", "diego_cell_work_seconds"} <= names
    plain = await page(instruments, "text/html")
    assert plain.content_type.startswith("text/plain")


def test_a_program_that_is_not_scraped_does_not_load_the_library() -> None:
    code = "import sys, common.metrics.exposition; sys.exit('prometheus_client' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
