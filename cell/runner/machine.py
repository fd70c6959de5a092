"""The environment of a run: a slot of the machine, and the local root filesystem."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import docker
import docker.errors

from bbs.embedded.store.statefolder import SharedFolder, private_folder
from cell.development.images import ensure_image
from cell.development.slots import DENIED_NETWORKS, PORTS_PER_SLOT, NoFreeSlot, Slot, take_slots
from cell.runner.errors import HostError
from cell.runner.options import LOCAL_IMAGE, Options
from rep.config import RepConfig


def check_machine(root_fs: str, folder: Path, docker_host: str) -> None:
    """Check permissions and the engine, and create the local image if required.

    Blocks. Raises HostError.
    """
    if os.geteuid() != 0:
        raise HostError("must run as root: it creates containers and packet rules")
    try:
        client = docker.APIClient(base_url=docker_host, version="auto")
        try:
            if root_fs == LOCAL_IMAGE:
                private_folder(folder)
                ensure_image(client, LOCAL_IMAGE, folder)
        finally:
            client.close()
    except docker.errors.DockerException as error:
        raise HostError(
            f"no container engine answers at {docker_host} ({error}); start it with `systemctl start docker`"
        ) from error
    except SharedFolder as error:
        raise HostError(f"the state folder cannot be used: {error}") from error
    except OSError as error:
        raise HostError(f"cannot make the local image: {error}; install busybox-static") from error


@contextmanager
def one_slot() -> Iterator[Slot]:
    """Reserve a slot for the block. Raises HostError."""
    try:
        with take_slots(1) as (slot,):
            yield slot
    except NoFreeSlot as error:
        raise HostError(str(error)) from error


def cell_config(slot: Slot, options: Options, *, owner: str) -> RepConfig:
    """Settings of the cell for the run. owner: empty for the slot's usual one.

    Containers of the usual owner from an earlier, killed run in this slot are removed at start.
    """
    folder = options.state_dir / slot.cell_id
    base = RepConfig()
    return replace(
        base,
        cell_id=slot.cell_id,
        docker_host=options.docker_host,
        container_owner_name=owner or base.container_owner_name,
        cache_path=str(folder / "download_cache"),
        temp_dir=str(folder / "tmp"),
        state_dir=str(folder),
        network_name=slot.network_name,
        nft_table=slot.nft_table,
        denied_networks=DENIED_NETWORKS,
        network_subnet=slot.subnet,
        host_port_start=slot.host_port_start,
        host_port_count=PORTS_PER_SLOT,
    )
