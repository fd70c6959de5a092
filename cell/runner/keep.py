"""Kept containers, and shells in them."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys

import docker
import docker.errors

from bbs.models.actions import Action, RunAction
from cell.assembly.terminal import one_line
from cell.errors import CommandError
from executor.engine.api import EngineContainer

_NO_NETWORK, _OTHER_NETWORK = "none", "bridge"
"""The container's present network in the engine, and the network of a kept container."""


def shell_command(container: EngineContainer, action: Action | None) -> list[str]:
    """The command to enter the container; as the step's user, folder and environment if the step is known."""
    command = ["docker", "exec", "-it"]
    if isinstance(action, RunAction):
        command += ["-u", action.user]
        if action.dir:
            command += ["-w", action.dir]
        for variable in action.env:
            command += ["-e", f"{variable.name}={variable.value}"]
    return [*command, container.id[:12], "/bin/sh"]


def kept_message(container: EngineContainer, action: Action | None) -> str:
    """The message about a kept container."""
    return (
        f"the container is kept; enter it with `{shlex.join(shell_command(container, action))}`, "
        f"remove it with `docker rm -fv {container.id[:12]}`"
    )


async def open_shell(container: EngineContainer, action: Action | None, reason: str) -> None:
    """Open a shell on this terminal and wait for its end. reason: printed first. Raises CommandError."""
    if shutil.which("docker") is None:
        raise CommandError("a shell needs the `docker` program: install docker-cli")
    text = f"cell run: {one_line(reason)}; this is a shell in the container, `exit` ends the run"
    print(text, file=sys.stderr, flush=True)
    process = await asyncio.create_subprocess_exec(*shell_command(container, action))
    await process.wait()


def attach_default_network(container: EngineContainer, docker_host: str) -> None:
    """Attach a kept container, already detached from the run's network, to the engine's default network.

    Blocks. Raises CommandError.
    """
    try:
        client = docker.APIClient(base_url=docker_host, version="auto")
        try:
            client.disconnect_container_from_network(container.id, _NO_NETWORK)
            client.connect_container_to_network(container.id, _OTHER_NETWORK)
        finally:
            client.close()
    except docker.errors.DockerException as error:
        raise CommandError(f"the kept container has no network: {error}") from error
