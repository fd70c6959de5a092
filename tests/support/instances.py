"""Programs in containers that end when a test asks for it."""

from __future__ import annotations

import time

import docker

from executor.engine.createrequest import LABEL_GUID
from tests.support.waiting import PATIENCE_S

UNTIL_ASKED = "while [ ! -e /tmp/end ]; do sleep 0.1; done; "
"""The begin of a shell script, which goes on after :func:`end`."""


def end(guid: str) -> None:
    """Let the program of a container go on to its end; a Task that is Running may have none yet.

    Raises AssertionError if there is none for long.
    """
    client = docker.APIClient(version="auto")
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := client.containers(filters={"label": f"{LABEL_GUID}={guid}"})):
            assert time.monotonic() < deadline, f"there is no container of {guid}"
            time.sleep(0.05)
        client.exec_start(client.exec_create(found[0]["Id"], ["touch", "/tmp/end"])["Id"])
    finally:
        client.close()
