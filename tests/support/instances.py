"""Programs in containers that end when a test asks for it."""

from __future__ import annotations

import docker

from executor.engine.createrequest import LABEL_GUID

UNTIL_ASKED = "while [ ! -e /tmp/end ]; do sleep 0.1; done; "
"""The begin of a shell script, which goes on after :func:`end`."""


def end(guid: str) -> None:
    """Let the program of a container go on to its end."""
    client = docker.APIClient(version="auto")
    try:
        (found,) = client.containers(filters={"label": f"{LABEL_GUID}={guid}"})
        client.exec_start(client.exec_create(found["Id"], ["touch", "/tmp/end"])["Id"])
    finally:
        client.close()
