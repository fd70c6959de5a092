"""Jobs of uploads, and how each is going: kept in a folder, so that a restart forgets none.

One small file a job. A job that had not ended when the last life did has failed, for a reason that is told.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

JOBS_KEPT: Final = 1000

QUEUED: Final = "queued"
RUNNING: Final = "running"
FINISHED: Final = "finished"
FAILED: Final = "failed"
ENDED: Final = frozenset({FINISHED, FAILED})

RESTARTED: Final = "the file server was restarted before the upload was in its place; upload it again"

_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Job:
    """status: as the Cloud Controller calls it. error: why it failed."""

    status: str
    error: str = ""


class UploadJobs:
    """Jobs by id; the newest JOBS_KEPT of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs: dict[str, Job] = {}

    def load(self) -> None:
        """Take over what an earlier life left. Raises OSError."""
        self._jobs = {}
        if not self._folder.is_dir():
            return
        files = [path for path in self._folder.iterdir() if _ID.fullmatch(path.name)]
        for path in sorted(files, key=lambda each: each.stat().st_mtime_ns):
            job = _read(path)
            if job.status not in ENDED:
                job = Job(FAILED, RESTARTED)
                self._write(path.name, job)
            self._jobs[path.name] = job
        self._prune()

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def begin(self) -> str:
        """A new job's id. Raises OSError."""
        job_id = secrets.token_hex(16)
        self._write(job_id, Job(QUEUED))
        self._jobs[job_id] = Job(QUEUED)
        self._prune()
        return job_id

    def set(self, job_id: str, job: Job) -> None:
        """How it is going now. Where that cannot be written down, a restart makes a failure of it."""
        self._jobs[job_id] = job
        try:
            self._write(job_id, job)
        except OSError as error:
            logger.error("upload-job.not-recorded", extra={"data": {"job": job_id, "error": str(error)}})

    def _write(self, job_id: str, job: Job) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f"{job_id}.new"
        fresh.write_text(json.dumps(asdict(job)))
        os.replace(fresh, self._folder / job_id)

    def _prune(self) -> None:
        while len(self._jobs) > JOBS_KEPT:
            oldest = next(iter(self._jobs))
            del self._jobs[oldest]
            (self._folder / oldest).unlink(missing_ok=True)


def _read(path: Path) -> Job:
    """What a file says; one that was cut off says that its job has not ended."""
    try:
        kept = json.loads(path.read_text())
        return Job(str(kept["status"]), str(kept["error"]))
    except (ValueError, KeyError, TypeError):
        return Job(RUNNING)
