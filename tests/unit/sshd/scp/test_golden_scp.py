"""Recorded conversations of the built-in scp."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from sshd.wire import text, uint32
from tests.support.paths import GOLDEN_FILES
from tests.support.thorough import sampled

pytestmark = pytest.mark.unit

CASES: list[dict[str, Any]] = json.loads((GOLDEN_FILES / "lifecycle/sshd_scp.json").read_text())


def lay_out(root: Path, files: dict[str, Any]) -> None:
    for name, file in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if "symlink" in file:
            path.symlink_to(file["symlink"])
            continue
        path.write_bytes(file["content"].encode("latin-1"))
        path.chmod(int(file["mode"], 8))
        if "mtime" in file:
            os.utime(path, (file["atime"], file["mtime"]))


def contents(root: Path) -> dict[str, Any]:
    """Every file and directory below, as the recordings describe changed ones."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            continue
        status = path.stat()
        entry: dict[str, Any] = {"mode": f"{stat.S_IMODE(status.st_mode):o}"}
        if path.is_file():
            entry["content"] = path.read_bytes().decode("latin-1")
        if status.st_mtime < 1_500_000_000:
            entry["mtime"] = int(status.st_mtime)
        found[str(path.relative_to(root))] = entry
    return found


@pytest.mark.parametrize("case", sampled(CASES, 24), ids=lambda case: case["name"])
async def test_scp(case: dict[str, Any], daemons: Any, connect_to: Any) -> None:
    with daemons.kept("-logLevel=fatal", "-allowUnauthenticatedClients") as daemon:
        client = await connect_to(daemon.port)
        daemons.empty(daemon)
        lay_out(daemon.home, case["files"])
        before = contents(daemon.home)
        recorder = await client.open()
        assert await recorder.channel.request("exec", text(case["command"]), True)
        recorder.channel.send(case["stdin"].encode("latin-1"))
        recorder.channel.send_eof()
        await recorder.over.wait()
        seen = recorder.seen
        after = contents(daemon.home)
    assert seen.requests == [("exit-status", uint32(case["exit"]))]
    if "stdout_prefix" in case:
        assert seen.output.decode("latin-1").startswith(case["stdout_prefix"])
    else:
        wanted = re.escape(case["stdout"]).replace(re.escape("{TIME}"), r"\d+")
        assert re.fullmatch(wanted, seen.output.decode("latin-1"), re.DOTALL), seen.output
    assert seen.errors.decode("latin-1") == case["stderr"]
    assert {name: entry for name, entry in after.items() if before.get(name) != entry} == case["changed"]


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", ""])
async def test_names_that_lead_elsewhere_are_refused(name: str, daemons: Any, connect_to: Any) -> None:
    with daemons.kept("-logLevel=fatal", "-allowUnauthenticatedClients") as daemon:
        client = await connect_to(daemon.port)
        daemons.empty(daemon)
        recorder = await client.open()
        assert await recorder.channel.request("exec", text("scp -r -t ."), True)
        recorder.channel.send(f"C0644 1 {name}\nx\0".encode())
        recorder.channel.send_eof()
        await recorder.over.wait()
        assert contents(daemon.home) == {}
        assert not (daemon.home.parent / "x").exists()
    assert recorder.seen.output.startswith(b"\0\1scp: ")
    assert recorder.seen.requests == [("exit-status", uint32(1))]
