"""Every recording is replayed by a test; a new capture file without a replay fails here."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import GOLDEN_FILES, REPOSITORY

pytestmark = pytest.mark.unit

TESTS = REPOSITORY / "tests"
WIRE = GOLDEN_FILES / "wire"

BY_ROLE = {
    "requests and answers, as a client of a BBS": ("unit/bbs/client/test_recorded_calls.py", "bbs"),
    "requests, as a rep": ("unit/rep/test_rep_recorded_requests.py", "rep"),
    "requests, as an auctioneer and to one": (
        "unit/bbs/embedded/auctioneer/test_auctioneer_recorded.py",
        "auctioneer",
    ),
    "calls, as a client of Locket": ("unit/bbs/client/test_locket.py", "locket"),
    "calls, as a Locket": ("unit/bbs/embedded/locket/test_bbs_recorded_locket.py", "locket"),
}
"""Tests that run once per capture file with a server: by the marker, no file can be left out."""

BY_FOLDER = {
    "scenarios": "unit/bbs/embedded/test_bbs_recorded_scenarios.py",
    "events": "unit/bbs/client/test_recorded_streams.py",
    "bbs-replies": "unit/bbs/embedded/http/test_bbs_replay.py",
}
"""Tests that find the files of a folder by themselves, or name each of them."""

ELSEWHERE = {
    "component-log/rep": "unit/rep/test_rep_recorded_log.py",
    "container/check-processes": "unit/executor/steps/test_checks_recorded_processes.py",
    "container/inside": "docker/test_executor_lives.py",
    "container/exact-environment": "docker/isolation/test_identity_in_containers.py",
    "container/instance-identity": "unit/executor/identity/test_identity_certificates.py",
    "locket/presence-values": "unit/rep/test_rep_presence.py",
    "locket/http2-control-frames": "",  # of a gRPC library; nothing of ours speaks HTTP/2 by itself
    "cfdot/commands": "unit/bbs/models/test_codec.py",
}
FACTS = ("app-logs",)
"""Folders about what a cell sends of its apps; the rooms of the executor test against them."""


SEVERAL = {
    "other-http/assets-and-callbacks": (
        "unit/executor/cache/test_cache_recorded_http.py",
        "unit/bbs/embedded/calls/test_bbs_recorded_callbacks.py",
    ),
    "request-headers": (
        "unit/bbs/client/test_bbs_recorded_headers.py",
        "unit/bbs/embedded/calls/test_bbs_recorded_sent_headers.py",
    ),
}
"""Files about requests of several senders: each is read by the tests of all of ours."""


def files() -> list[str]:
    return [str(path.relative_to(WIRE).with_suffix("")) for path in sorted(WIRE.rglob("*.json"))]


@pytest.mark.parametrize(("test", "server"), BY_ROLE.values(), ids=BY_ROLE)
def test_each_role_is_played_for_all_files(test: str, server: str) -> None:
    assert f'@pytest.mark.captures("{server}")' in (TESTS / test).read_text()


def test_every_file_is_replayed(recorded_servers: dict[str, list[object]]) -> None:
    with_servers = {getattr(capture, "file", "") for found in recorded_servers.values() for capture in found}
    covered = ELSEWHERE.keys() | SEVERAL.keys()
    for file in files():
        folder = file.partition("/")[0]
        assert file in with_servers or folder in BY_FOLDER or file in covered or folder in FACTS, file


@pytest.mark.parametrize("folder", BY_FOLDER)
def test_a_folder_is_read_whole_or_file_by_file(folder: str) -> None:
    text = (TESTS / BY_FOLDER[folder]).read_text()
    if not re.search(r"\br?glob\(", text):
        missing = [path.stem for path in (WIRE / folder).glob("*.json") if f'"{path.stem}"' not in text]
        assert missing == []


@pytest.mark.parametrize("file", [file for file, test in ELSEWHERE.items() if test])
def test_the_others_are_read_by_name(file: str) -> None:
    assert file.rpartition("/")[2] in (TESTS / ELSEWHERE[file]).read_text()


@pytest.mark.parametrize(
    ("file", "test"), [(file, test) for file, tests in SEVERAL.items() for test in tests]
)
def test_each_sender_reads_them_by_name(file: str, test: str) -> None:
    assert f"{file.rpartition('/')[2]}.json" in (TESTS / test).read_text()


TOLD = (TESTS / "golden" / "README.md").read_text()


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`tests/([\w/]+\.py)", TOLD))))
def test_the_tests_that_are_told_of_exist(test: str) -> None:
    assert (TESTS / test).is_file()


def test_every_recording_is_told_of() -> None:
    told = set(re.findall(r"`wire/([\w.-]+)", TOLD))
    assert {path.name for path in WIRE.iterdir()} - {"README.md"} <= told
