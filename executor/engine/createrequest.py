"""Engine requests for containers that only wait. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.engine.api import BindMount, ContainerSpec
from executor.engine.capabilities import UNPRIVILEGED
from executor.engine.parent import BUSYBOX, INIT, IO_DIR
from executor.engine.storage import DiskSpace

LABEL_OWNER = "org.cloudfoundry.diego.owner"
LABEL_CELL = "org.cloudfoundry.diego.cell"
LABEL_GUID = "org.cloudfoundry.diego.guid"
LABEL_ADDRESS = "org.cloudfoundry.diego.address"
LABEL_PRIVILEGED = "org.cloudfoundry.diego.privileged"
LABEL_DISK_BYTES = "org.cloudfoundry.diego.disk-bytes"
LABEL_IMAGE_BYTES = "org.cloudfoundry.diego.image-bytes"

HOSTNAME_LENGTH = 49
"""Length of the guid's suffix that becomes the host name."""

NAMELESS = "container"
"""The host name of a container whose guid has neither a letter nor a digit there."""

CPU_SHARES_LEAST, CPU_SHARES_MOST = 2, 262_144
"""The kernel's limits. Cgroup version 1 rounds to them. In version 2, shares beyond them have no weight, and
the runtime fails.
"""

CPU_PERIOD_US = 100_000
CPU_QUOTA_LEAST_US = 1_000
"""Microseconds: the period of hard CPU limits in the kernel, and the smallest quota."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSettings:
    """Settings that all containers of this cell share.

    capabilities, lowering: for privileged containers; ``lowering`` are mounts.
    dns_servers: empty takes the engine's, which are the host's without loopback addresses.
    """

    owner: str
    cell_id: str
    name_prefix: str
    dns_servers: tuple[str, ...]
    init_path: str
    busybox_path: str
    capabilities: tuple[str, ...]
    lowering: tuple[BindMount, ...] = ()


def host_name(guid: str) -> str:
    """The container's host name."""
    return guid[-HOSTNAME_LENGTH:].lstrip("-_") or NAMELESS


def container_name(settings: CellSettings, guid: str) -> str:
    """The engine's name of a container; such names must start alphanumeric, unlike task guids."""
    return f"{settings.name_prefix}{guid}"


def owner_labels(settings: CellSettings) -> dict[str, str]:
    """Labels that only our containers have."""
    return {LABEL_OWNER: settings.owner, LABEL_CELL: settings.cell_id}


def create_request(
    spec: ContainerSpec, *, image: str, io_dir: Path, settings: CellSettings, space: DiskSpace
) -> dict[str, Any]:
    """The body of the engine's create call.

    It overrides all of the image's run settings except the environment. The instance's own environment
    goes to its processes only: checks and proxies must not see it.
    """
    return {
        "Image": image,
        "Hostname": host_name(spec.guid),
        "User": "0:0",
        "WorkingDir": "/",
        "Entrypoint": [INIT, "-P"],
        "Cmd": None,
        "Tty": False,
        "OpenStdin": False,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {
            **spec.labels,
            **owner_labels(settings),
            LABEL_GUID: spec.guid,
            LABEL_ADDRESS: spec.address,
            **({LABEL_PRIVILEGED: "true"} if spec.privileged else {}),
            **({LABEL_DISK_BYTES: str(spec.disk_bytes)} if spec.disk_bytes else {}),
            **({LABEL_IMAGE_BYTES: str(space.own_image)} if space.own_image else {}),
        },
        "HostConfig": _host_config(spec, io_dir, settings, space.quota),
    }


def _host_config(
    spec: ContainerSpec, io_dir: Path, settings: CellSettings, disk_quota: int
) -> dict[str, Any]:
    ours = (
        BindMount(source=settings.init_path, target=INIT),
        BindMount(source=settings.busybox_path, target=BUSYBOX),
        BindMount(source=str(io_dir), target=IO_DIR),
        *(settings.lowering if spec.privileged else ()),
    )
    config: dict[str, Any] = {
        "NetworkMode": "none",
        "ExtraHosts": [f"{host_name(spec.guid)}:{spec.address}"] if spec.address else [],
        "Dns": list(settings.dns_servers),
        "Mounts": [_mount(mount) for mount in (*ours, *spec.mounts)],
        "LogConfig": {"Type": "none"},
        "RestartPolicy": {"Name": "no"},
        "Init": False,
    }
    if spec.memory_bytes:
        config |= {"Memory": spec.memory_bytes, "MemorySwap": spec.memory_bytes}
    if spec.max_pids:
        config["PidsLimit"] = spec.max_pids
    if spec.cpu_shares:
        config["CpuShares"] = min(max(spec.cpu_shares, CPU_SHARES_LEAST), CPU_SHARES_MOST)
    if spec.cpu_percent:
        quota = max(CPU_QUOTA_LEAST_US, int(spec.cpu_percent / 100 * CPU_PERIOD_US))
        config |= {"CpuPeriod": CPU_PERIOD_US, "CpuQuota": quota}
    if disk_quota:
        config["StorageOpt"] = {"size": str(disk_quota)}
    if spec.privileged:
        return config | _privileged(settings.capabilities)
    return config | _unprivileged(spec.no_new_privileges)


def _unprivileged(no_new_privileges: bool) -> dict[str, Any]:
    """Unprivileged settings; syscall filter, masked and read-only paths and user namespace are the engine's
    defaults.
    """
    return {
        "CapDrop": ["ALL"],
        "CapAdd": list(UNPRIVILEGED),
        "SecurityOpt": ["no-new-privileges"] if no_new_privileges else [],
    }


def _privileged(capabilities: tuple[str, ...]) -> dict[str, Any]:
    """Privileged without Docker's flag, which fails where the host's bounding set is not full."""
    return {
        "CapDrop": ["ALL"],
        "CapAdd": list(capabilities),
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
        "DeviceCgroupRules": ["a *:* rwm"],
        "UsernsMode": "host",
        "MaskedPaths": [],
        "ReadonlyPaths": [],
    }


def _mount(mount: BindMount) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
    }
