"""What a scrape shows beside measurements: states of a cell's parts, certificates, delays of its loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bbs.client.tls import TLSConfigurationError, end_of_validity
from cell.assembly.catalogue import CERTIFICATE_EXPIRY, COMPONENT_LOG_LOST, INFO, LOOP_LAG
from cell.assembly.logwriter import LogWriter
from common.metrics.instruments import Instruments
from common.tasks import running
from rep.config import RepConfig

LAG_INTERVAL_S: Final = 0.5
"""Interval of the timer that measures the event loop."""

Report = Callable[[Instruments], None]
"""Sets the values that are states of one part."""

logger = logging.getLogger(__name__)


@asynccontextmanager
async def observed(
    config: RepConfig, instruments: Instruments, reports: Sequence[Report]
) -> AsyncIterator[None]:
    """Show the states of a cell while inside."""
    instruments.set(INFO, 1, config.cell_id, config.zone, version("diego-cell"))
    certificates = Certificates(certificate_files(config))

    def refresh() -> None:
        for report in (*reports, certificates.report, _report_component_log):
            report(instruments)

    with instruments.refreshed_by(refresh):
        async with running(measure_lag(instruments), "event loop lag"):
            yield


async def measure_lag(instruments: Instruments) -> None:
    """Measure the delay of the event loop until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_INTERVAL_S
        await asyncio.sleep(LAG_INTERVAL_S)
        instruments.observe(LOOP_LAG, max(loop.time() - due, 0.0))


def certificate_files(config: RepConfig) -> Mapping[str, Path]:
    """The configured certificate files, by the label of their metric."""
    files = {
        "rep": config.cert_file,
        "locket": config.locket_client_cert_file,
        "loggregator": config.loggregator.loggregator_cert_path if config.loggregator.enabled else "",
        "instance_ca": config.instance_identity_ca_path,
    }
    return {label: Path(file) for label, file in files.items() if file}


@dataclass(slots=True)
class Certificates:
    """Ends of validity; a file is read again when it has changed."""

    files: Mapping[str, Path]
    _ends: dict[str, tuple[int, float]] = field(default_factory=dict)

    def report(self, instruments: Instruments) -> None:
        """Set the metric of each file. A file that cannot be read keeps its last value."""
        for label, path in self.files.items():
            try:
                changed_ns = path.stat().st_mtime_ns
                if self._ends.get(label, (0, 0.0))[0] != changed_ns:
                    self._ends[label] = changed_ns, end_of_validity(path).timestamp()
            except (OSError, TLSConfigurationError) as error:
                data = {"certificate": label, "error": str(error)}
                logger.debug("certificate-not-readable", extra={"data": data})
            if label in self._ends:
                instruments.set(CERTIFICATE_EXPIRY, self._ends[label][1], label)


def _report_component_log(instruments: Instruments) -> None:
    writers = [each for each in logging.getLogger().handlers if isinstance(each, LogWriter)]
    instruments.set(COMPONENT_LOG_LOST, sum(writer.lost for writer in writers))
