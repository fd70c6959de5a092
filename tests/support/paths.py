"""Paths of the repository and its recordings."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
GOLDEN_FILES = REPOSITORY / "tests" / "golden"
