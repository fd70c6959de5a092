"""Every key of ``rep.json`` is used, or listed as unused with a reason."""

from __future__ import annotations

import ast
import dataclasses
import json
from typing import Any

import pytest

from rep.config import Loggregator, RepConfig, Source, parse
from rep.config.unused import WARNED, WITHOUT_EFFECT
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.unit

HOUSE = REPOSITORY
ROOMS = ("rep", "cell", "executor")
ONLY_READ = {HOUSE / "rep" / "config" / name for name in ("parse.py", "validate.py", "unused.py")}
KEYS = HOUSE / "rep" / "config" / "keys.py"
OWN = {"sources", "warnings", "loggregator"}
NAMES = {item.name for cls in (RepConfig, Loggregator) for item in dataclasses.fields(cls)} - OWN


def attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def used() -> set[str]:
    """Attribute names in the code; a duration is there in seconds, too, by another name."""
    found: set[str] = set()
    for room in ROOMS:
        for path in (HOUSE / room).rglob("*.py"):
            if path not in ONLY_READ:
                found |= attributes(ast.parse(path.read_text()))
    return found | {name.removesuffix("_s") for name in found}


def test_every_key_is_used_or_listed_with_a_reason() -> None:
    assert NAMES - used() == WITHOUT_EFFECT.keys()


def test_only_keys_are_listed() -> None:
    assert WITHOUT_EFFECT.keys() | WARNED.keys() <= NAMES


@pytest.mark.parametrize("key", WARNED)
def test_who_wishes_for_what_there_is_not_is_told(key: str) -> None:
    wish: Any = True if isinstance(getattr(RepConfig(), key), bool) else 5
    [warning] = parse(json.dumps({key: wish})).warnings
    assert warning.startswith(f'key "{key}" has no effect: ')
    nothing: Any = False if wish is True else 0
    assert parse(json.dumps({key: nothing})).warnings == ()


TABLE = [
    line.split(" ", 1)
    for line in (HOUSE / "tests" / "golden" / "protocol" / "rep-keys.txt").read_text().splitlines()
    if not line.startswith("#")
]
SAMPLES: dict[str, Any] = {
    "string": "x",
    "path": "/x",
    "path list": "/x:/y",
    "URL": "https://x:1",
    "host:port": "x:1",
    "bool": True,
    "dur": "1m30s",
    "int": 5,
    "int seconds": 5,
    "int ns": 5,
    "uint": 5,
    "uint64": 5,
    "[string]": ["x", "y"],
}
CHOICES = {"log_level": "debug", "time_format": "rfc3339", "layering_mode": "two-layer"}


@pytest.mark.parametrize(("key", "kind"), TABLE, ids=[key for key, _ in TABLE])
def test_every_key_of_the_original_is_known_and_takes_its_type(key: str, kind: str) -> None:
    outer, _, inner = key.rpartition(".")
    value = CHOICES.get(key, SAMPLES[kind])
    document = {outer: {inner: value}} if outer else {key: value}
    found = parse(json.dumps(document))
    assert not any("unknown key" in warning for warning in found.warnings)
    if key in NAMES or inner in NAMES:
        values = {name: (held, source) for name, held, source in found.effective()}
        assert values[key][1] is Source.FILE
