"""Show the version of the cell, and of what it runs on.

cell version
cell version --json
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib import metadata

import click

from cell.cli import Command, command
from executor.journal.opening import DISTRIBUTION
from executor.journal.schema import SCHEMA_VERSION

LIBRARIES = ("aiohttp", "asyncssh", "cryptography", "docker", "grpcio", "protobuf", "pyroute2")
"""The libraries that speak to other programs."""


@command(Command)
@click.option("--json", "as_json", is_flag=True, help="print a JSON object")
def version(as_json: bool) -> None:
    found = versions()
    print(json.dumps(found) if as_json else "\n".join(f"{name} {value}" for name, value in found.items()))


def versions() -> Mapping[str, str]:
    """Versions by name; the cell's own is the first."""
    return {
        "cell": metadata.version(DISTRIBUTION),
        "journal": str(SCHEMA_VERSION),
        "python": platform.python_version(),
        "kernel": platform.release(),
        **{name: metadata.version(name) for name in LIBRARIES},
    }
