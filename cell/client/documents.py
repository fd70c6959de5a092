"""Documents from users: a file, or ``-`` for standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from bbs.models.actions import Action
from bbs.models.codec import parse
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.documents import TaskDocument, read_document
from bbs.models.invalid import InvalidDocument
from cell.client.target import BadArguments


def read_desired_lrp(name: str) -> DesiredLRP:
    """In the present form or that of 2015. Raises BadArguments, naming file and field."""
    document = _read(name)
    if not isinstance(document, DesiredLRP):
        raise BadArguments(
            f"{_called(name)} is {_kind(document)}, not a DesiredLRP; try {_command(document)}"
        )
    return document


def read_task(name: str) -> TaskDocument:
    """In the present form or that of 2015. Raises BadArguments, naming file and field."""
    document = _read(name)
    if not isinstance(document, TaskDocument):
        raise BadArguments(f"{_called(name)} is {_kind(document)}, not a Task; try {_command(document)}")
    for key in ("task_guid", "domain"):
        if not getattr(document, key):
            raise BadArguments(f"{_called(name)}: $.{key}: expected a value (this field is required)")
    return document


def _read(name: str) -> Action | TaskDocument | DesiredLRP:
    try:
        text = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise BadArguments(f"{name} cannot be read: {error.strerror}") from error
    try:
        return read_document(parse(text))
    except InvalidDocument as error:
        raise BadArguments(f"{_called(name)}: {error}") from error


def _called(name: str) -> str:
    return "standard input" if name == "-" else name


def _kind(document: Action | TaskDocument | DesiredLRP) -> str:
    if isinstance(document, DesiredLRP):
        return "a DesiredLRP"
    return "a Task" if isinstance(document, TaskDocument) else "an action alone"


def _command(document: Action | TaskDocument | DesiredLRP) -> str:
    if isinstance(document, DesiredLRP):
        return "`cell desire`"
    return "`cell task`" if isinstance(document, TaskDocument) else "`cell run`"
