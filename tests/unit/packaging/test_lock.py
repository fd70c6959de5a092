"""The digests of what the packages and the bundle download are those of the pinned versions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.unit

LOCKED = REPOSITORY / "packaging" / "deb" / "requirements.txt"
BUNDLE = REPOSITORY / "lifecycle" / "bundle"
PINNED = (REPOSITORY / "constraints.txt", BUNDLE / "wheels.txt")
_PIN = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)


def versions(*paths: Path) -> dict[str, str]:
    found = [pin for path in paths for pin in _PIN.findall(path.read_text())]
    return {canonicalize_name(name): version for name, version in found}


def test_the_locked_versions_are_the_pinned_ones() -> None:
    pinned = versions(*PINNED)
    locked = {name: version for name, version in versions(LOCKED).items() if name in pinned}
    assert locked == {name: pinned[name] for name in locked}, "run scripts/lock"
    assert versions(BUNDLE / "hashes.txt") == versions(BUNDLE / "wheels.txt"), "run scripts/lock"


def test_every_dependency_is_locked_with_a_digest() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    assert wanted - versions(LOCKED).keys() == set(), "run scripts/lock"
    for path in (LOCKED, BUNDLE / "hashes.txt"):
        entries = path.read_text().replace("\\\n", " ").splitlines()
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
