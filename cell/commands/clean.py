"""Remove what a cell has on this machine besides its files: containers, network, imported root filesystems.

For a cell that will not start again. The rep must not run; `cell drain` ends it, and moves the instances.
Files in `state_dir` and `cache_path` stay.

  cell clean --config /etc/diego-cell/rep.json

Exit status 1 if the rep runs, or if the container engine or the network refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from cell.cli import FILE, Command, command, require_root
from rep.config import ConfigError, InvalidConfig, RepConfig, executor_config, load

ENGINE_LIMIT_S: Final = 30.0
"""Time for the engine to answer."""


@command(Command)
@click.option("--config", type=FILE, required=True, metavar="FILE", help="the rep.json of the cell")
def clean(config: Path) -> None:
    require_root("it removes containers and packet rules")
    # Local imports: options are read and completed without the container engine's client.
    from cell.assembly.locks import AlreadyInUse
    from cell.errors import CommandError
    from executor.errors import ExecutorError

    try:
        asyncio.run(_clean(load(config)))
    except (AlreadyInUse, ConfigError, ExecutorError, InvalidConfig, OSError) as error:
        raise CommandError(str(error)) from error


async def _clean(config: RepConfig) -> None:
    """Raises AlreadyInUse while the cell runs, ExecutorError, CommandError, OSError."""
    from cell.assembly.cell import network_config
    from cell.assembly.locks import alone
    from executor.network.cell import CellNetwork

    with alone(config, executor_config(config)):
        for owner in (config.container_owner_name, config.healthcheck_container_owner_name):
            for guid in await _destroy_containers(config, owner):
                print(f"container removed: {guid}")
        network = CellNetwork(network_config(config))
        await network.start()
        await network.sweep()
        await network.stop()
        print(f"network removed: {config.network_name}")
        for tag in await asyncio.to_thread(_remove_images, config.docker_host):
            print(f"image removed: {tag}")


async def _destroy_containers(config: RepConfig, owner: str) -> Sequence[str]:
    """The guids of the removed containers. Raises EngineError."""
    from cell.assembly.cell import engine_config
    from executor.engine.docker import DockerEngine
    from executor.errors import EngineError

    engine = DockerEngine(engine_config(config, owner))
    try:
        async with asyncio.timeout(ENGINE_LIMIT_S):
            await engine.ping()
        guids = sorted(await engine.list_guids())
        for guid in guids:
            await engine.destroy(guid)
        await engine.sweep(())
    except TimeoutError:
        raise EngineError(f"the container engine at {config.docker_host} does not answer") from None
    finally:
        await engine.close()
    return guids


def _remove_images(docker_host: str) -> Sequence[str]:
    """Remove the images that were imported for stacks; returns their tags. Raises CommandError."""
    from cell.development.images import engine_client
    from executor.engine.images import IMPORTED, remove_unused

    with engine_client(docker_host) as client:
        tags = [tag for image in client.images(IMPORTED) for tag in image["RepoTags"] or ()]
        return remove_unused(client, tags)
