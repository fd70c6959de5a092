"""Upload jobs and their states, stored in a folder so that they survive a restart.

Each job is one small file. After a restart, unfinished jobs of the previous process have failed.
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
    """State of a job. status: in the Cloud Controller's terms. error: reason of a failure."""

    status: str
    error: str = ""


class UploadJobs:
    """Jobs by id; the newest JOBS_KEPT are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs: dict[str, Job] = {}

    def load(self) -> None:
        """Load the jobs of the previous process. Raises OSError."""
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
        """Create a job; returns its id. Raises OSError."""
        job_id = secrets.token_hex(16)
        self._write(job_id, Job(QUEUED))
        self._jobs[job_id] = Job(QUEUED)
        self._prune()
        return job_id

    def set(self, job_id: str, job: Job) -> None:
        """Set the state of a job. If it cannot be stored, the job is failed after a restart."""
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
    """The job in a file; a truncated file counts as unfinished."""
    try:
        kept = json.loads(path.read_text())
        return Job(str(kept["status"]), str(kept["error"]))
    except (ValueError, KeyError, TypeError):
        return Job(RUNNING)
