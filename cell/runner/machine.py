"""The environment of a run: a slot of the machine, and the local root filesystem."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bbs.embedded.store.statefolder import SharedFolder, private_folder
from cell.cli import require_root
from cell.development import BUSYBOX_IMAGE
from cell.development.images import engine_client, ensure_image
from cell.development.slots import DENIED_NETWORKS, PORTS_PER_SLOT, Slot
from cell.errors import CommandError
from cell.runner.options import Options
from rep.config import RepConfig


def check_machine(root_fs: str, folder: Path, docker_host: str) -> None:
    """Check permissions and the engine, and create the local image if required.

    Blocks. Raises CommandError.
    """
    require_root("it creates containers and packet rules")
    try:
        with engine_client(docker_host) as client:
            if root_fs == BUSYBOX_IMAGE:
                private_folder(folder)
                ensure_image(client, BUSYBOX_IMAGE, folder)
    except SharedFolder as error:
        raise CommandError(f"the state folder cannot be used: {error}") from error
    except OSError as error:
        raise CommandError(f"cannot make the local image: {error}; install busybox-static") from error


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
