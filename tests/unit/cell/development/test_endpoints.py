"""The endpoints file of a ``cell dev`` exists while that process runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cell.development.endpoints import FILE_NAME, NoEndpoints, published, read_endpoints

pytestmark = pytest.mark.unit

DOCUMENT = {"bbs": "http://127.0.0.1:1", "locket": "127.0.0.1:2", "file_server": "f", "logs": "l"}
PUBLISH_AND_DIE = """
import os, signal, sys
from pathlib import Path
from cell.development.endpoints import published
with published(Path(sys.argv[1]), {"bbs": "b", "locket": "l"}):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_file_goes_with_the_process(tmp_path: Path) -> None:
    with published(tmp_path, DOCUMENT):
        found = read_endpoints(tmp_path)
        assert (found.bbs, found.locket) == ("http://127.0.0.1:1", "127.0.0.1:2")
        assert json.loads((tmp_path / FILE_NAME).read_text()) == DOCUMENT
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NoEndpoints, match=f"{FILE_NAME} does not exist"):
        read_endpoints(tmp_path)


def test_a_file_left_behind_does_not_count(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", PUBLISH_AND_DIE, str(tmp_path)], check=False)
    assert killed.returncode == -9
    assert (tmp_path / FILE_NAME).exists()
    with pytest.raises(NoEndpoints, match=f"{FILE_NAME} belongs to a `cell dev` that no longer runs"):
        read_endpoints(tmp_path)
    with published(tmp_path, DOCUMENT):
        assert read_endpoints(tmp_path).logs == "l"


def test_a_copy_for_another_machine_has_no_lock_and_its_files_beside_it(tmp_path: Path) -> None:
    files = {"ca": "ca.crt", "cert": "client.crt", "key": "/elsewhere/client.key"}
    document = {
        **DOCUMENT,
        "remote": True,
        "tls": files,
        "file_server_of_cells": "http://control-plane:8080",
        "router": "http://localhost:8000",
    }
    (tmp_path / FILE_NAME).write_text(json.dumps(document))
    found = read_endpoints(tmp_path)
    assert found.tls == (tmp_path / "ca.crt", tmp_path / "client.crt", Path("/elsewhere/client.key"))
    assert (found.file_server, found.file_server_of_cells) == ("f", "http://control-plane:8080")
    assert found.router == "http://localhost:8000"


def test_a_reader_is_not_taken_for_who_wrote_it(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(json.dumps(DOCUMENT))
    for _ in range(2):
        with pytest.raises(NoEndpoints, match="no longer runs"):
            read_endpoints(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it is not JSON"),
        ("\x00", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("null", "it is not a JSON object"),
        ("{}", "`bbs` is not a string"),
        ('{"bbs": 1, "locket": "l"}', "`bbs` is not a string"),
        ('{"bbs": "b", "locket": {}}', "`locket` is not a string"),
        ('{"bbs": "b", "locket": "l", "logs": []}', "`logs` is not a string"),
        ('{"bbs": "b", "locket": "l", "tls": 4}', "`tls` is not a JSON object"),
        ('{"bbs": "b", "locket": "l", "tls": {"ca": "c"}}', "`cert` is not a string"),
        ('{"bbs": "b", "locket": "l", "cells": {}}', "`cells` is not a list of JSON objects"),
        ('{"bbs": "b", "locket": "l", "cells": [{"cell_id": "c"}]}', "`admin` is not a string"),
    ],
)
def test_another_file_of_that_name_is_refused_with_words(tmp_path: Path, text: str, complaint: str) -> None:
    """The message names the entry, without names of Python's errors."""
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(NoEndpoints, match=f"{FILE_NAME} is not a file of `cell dev`: {complaint}$"):
        read_endpoints(tmp_path)


def test_anothers_file_stays(tmp_path: Path) -> None:
    with published(tmp_path, DOCUMENT):
        (tmp_path / FILE_NAME).unlink()
        (tmp_path / FILE_NAME).write_text("another's")
    assert (tmp_path / FILE_NAME).read_text() == "another's"
