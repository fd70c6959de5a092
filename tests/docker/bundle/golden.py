"""Replay of the recorded cases of the in-container programs, many at once in one container.

Twelve pairs of a root filesystem and a mode can run a case. A usual run takes one of them for each case,
spread evenly; a thorough run takes all. The cases run inside the container, started by the bundle's own
interpreter: the container need not have another.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.thorough import THOROUGH

REPOSITORY = Path(__file__).parents[3]
GOLDEN = REPOSITORY / "tests/golden/lifecycle"
FILES = (
    "healthcheck.json",
    "docker_launcher.json",
    "docker_builder.json",
    "credhub.json",
    "buildpack_launcher.json",
    "buildpack_shell.json",
    "buildpack_builder.json",
)
ADDRESS = "10.99.0.1"
WORKERS = 16

NOTHING, SHELL, BASH, TOOLS = range(4)
"""What a case needs in the image: nothing, /bin/sh with echo and the like, bash, cp and tar and git."""
OFFERS = {"static": NOTHING, "musl": SHELL, "busybox": SHELL, "bash": BASH, "debian": TOOLS}
ROOTS = ("static", "musl", "busybox", "debian")
"""What of these this machine's bundle is tried in; with bash alone there is nothing new."""


@dataclass(frozen=True)
class Mode:
    """The bundle's mount point, and further options of the container."""

    place: str
    options: tuple[str, ...] = ()


MODES = (
    Mode("/lifecycle"),
    Mode("/tmp/lifecycle", ("--read-only",)),
    Mode("/opt/a strange/place", ("--user", "4242")),
)
AS_ROOT, READ_ONLY, UNKNOWN_USER = MODES


def needs(case: dict[str, Any]) -> int:
    """What the programs that a case starts need."""
    program = case["program"]
    if program in ("healthcheck", "docker builder"):
        return NOTHING
    if program == "docker launcher":
        starts = case["stdout"] or case["exit"] not in (1, 2, 3, 4)
        return SHELL if starts or "f" in case["files"] else NOTHING
    if program == "buildpack builder":
        refused = case["exit"] in (1, 2, 3, 4) and case.get("result_json") is None and not case["files"]
        return NOTHING if refused else TOOLS
    prints = case["exit"] != 0 and not case["stdout"] and not case.get("stderr_contains")
    own = prints and case["exit"] in (1, 2, 3) and "{N}" not in case["stderr"]
    return NOTHING if own else BASH


def recorded() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    for name in FILES:
        cases += json.loads((GOLDEN / name).read_text())
    return cases


def applicable(root: str) -> list[dict[str, Any]]:
    """The cases that find what they need in a root file system."""
    return [case for case in recorded() if "network" not in case and needs(case) <= OFFERS[root]]


def chosen(mode: Mode, root: str) -> list[dict[str, Any]]:
    """The cases of this run for a pair of mode and root filesystem."""
    if THOROUGH:
        return applicable(root)
    cases = []
    for number, case in enumerate(recorded()):
        pairs = [(tried, one) for one in ROOTS if needs(case) <= OFFERS[one] for tried in MODES]
        if "network" not in case and pairs[number % len(pairs)] == (mode, root):
            cases.append(case)
    return cases


def outcome(
    cases: list[dict[str, Any]],
    mode: Mode,
    image: str,
    box: Callable[..., Any],
    bundle: Path,
    library: Path,
    certificates: Path,
    runner: Path | None = None,
) -> dict[str, list[str]]:
    """What came out otherwise than recorded, by case.

    runner: the bundle whose interpreter runs them, when it is not the one whose programs are tried.
    """
    place = mode.place
    setup = {"cases": cases, "bundle": place, "ip": ADDRESS, "certs": "/certs", "workers": WORKERS}
    mounts = {bundle: place, library: "/stdlib", certificates: "/certs", GOLDEN: "/cases"}
    lib = f"{place}/lib"
    if runner is not None:
        mounts[runner] = "/runner"
        lib = "/runner/lib"
    command = [f"{lib}/ld.so", "--library-path", lib, f"{lib}/python3", "-S"]
    options = [*mode.options, "-e", "PYTHONPATH=/stdlib"]
    container = box(image, [*command, "/cases/run_cases.py"], mounts, options)
    container.ip("addr", "add", f"{ADDRESS}/32", "dev", "lo")
    out, err = container.process.communicate(json.dumps(setup))
    assert out, err
    results = json.loads(out)
    assert len(results) == len(cases)
    return {result["name"]: result["mismatches"] for result in results if result["mismatches"]}
