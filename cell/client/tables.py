"""Tables of LRPs, Tasks, cells and locks for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bbs.models.actual_lrp import ActualLRP, ActualLRPNetInfo, Presence
from bbs.models.auction import CellState
from bbs.models.cell import CellPresence
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task
from cell.assembly.terminal import Table

SECOND_NS = 1_000_000_000


def age(since_ns: int, now_ns: int) -> str:
    """Elapsed time in its two largest units: ``3m12s``, ``2h5m``, ``4d1h``."""
    if since_ns <= 0:
        return ""
    seconds = max(0, now_ns - since_ns) // SECOND_NS
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60}m"
    return f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"


def address_and_ports(net_info: ActualLRPNetInfo) -> str:
    """Address and port mappings: ``10.0.0.5:61001->8080,61002->2222``."""
    if not net_info.address:
        return ""
    ports = ",".join(
        f"{port.host_port or port.host_tls_proxy_port}->{port.container_port}" for port in net_info.ports
    )
    return f"{net_info.address}:{ports}" if ports else net_info.address


def instance_state(lrp: ActualLRP) -> str:
    """The state, with remarks."""
    remarks = [] if lrp.presence is Presence.ORDINARY else [lrp.presence.name.lower()]
    if lrp.state == "RUNNING" and lrp.routable is False:
        remarks.append("not routable")
    return f"{lrp.state} ({', '.join(remarks)})" if remarks else lrp.state


def instances(lrps: Sequence[ActualLRP], now_ns: int) -> Table:
    """Sorted by process, then by index."""

    def place(lrp: ActualLRP) -> tuple[str, int]:
        return lrp.actual_lrp_key.process_guid, lrp.actual_lrp_key.index

    return Table(
        ("PROCESS", "INDEX", "STATE", "CELL", "ADDRESS", "SINCE", "CRASHES", "REASON"),
        [
            (
                lrp.actual_lrp_key.process_guid,
                str(lrp.actual_lrp_key.index),
                instance_state(lrp),
                lrp.actual_lrp_instance_key.cell_id,
                address_and_ports(lrp.actual_lrp_net_info),
                age(lrp.since, now_ns),
                str(lrp.crash_count),
                lrp.placement_error or lrp.crash_reason,
            )
            for lrp in sorted(lrps, key=place)
        ],
    )


def desired(lrps: Sequence[DesiredLRP], now_ns: int) -> Table:
    return Table(
        ("PROCESS", "DOMAIN", "INSTANCES", "MEMORY", "DISK", "PORTS", "ROOTFS"),
        [
            (
                lrp.process_guid,
                lrp.domain,
                str(lrp.instances),
                _mebibytes(lrp.memory_mb),
                _mebibytes(lrp.disk_mb),
                ",".join(map(str, lrp.ports)),
                lrp.root_fs,
            )
            for lrp in lrps
        ],
    )


def tasks(rows: Sequence[Task], now_ns: int) -> Table:
    return Table(
        ("TASK", "DOMAIN", "STATE", "CELL", "SINCE", "RESULT"),
        [
            (
                task.task_guid,
                task.domain,
                task.state.name,
                task.cell_id,
                age(task.updated_at, now_ns),
                task_outcome(task),
            )
            for task in rows
        ],
    )


def task_outcome(task: Task) -> str:
    """A one-line summary of the result so far."""
    if task.failed:
        return f"failed: {task.failure_reason}"
    if task.result:
        return task.result
    return f"rejected {task.rejection_count}x: {task.rejection_reason}" if task.rejection_count else ""


def cells(rows: Sequence[CellPresence], now_ns: int) -> Table:
    return Table(
        ("CELL", "ZONE", "URL", "MEMORY", "DISK", "CONTAINERS", "TAGS", "ROOTFS"),
        [
            (
                cell.cell_id,
                cell.zone,
                cell.rep_url or cell.rep_address,
                _mebibytes(cell.capacity.memory_mb) if cell.capacity else "",
                _mebibytes(cell.capacity.disk_mb) if cell.capacity else "",
                str(cell.capacity.containers) if cell.capacity else "",
                ",".join([*cell.placement_tags, *(f"{tag}?" for tag in cell.optional_placement_tags)]),
                ",".join(
                    f"{provider.name}:{name}" if name else provider.name
                    for provider in cell.rootfs_providers
                    for name in provider.properties or ("",)
                ),
            )
            for cell in rows
        ],
    )


def cell_states(states: Sequence[CellState]) -> Table:
    """The states of cells; memory, disk and containers as free of total."""

    return Table(
        ("CELL", "ZONE", "MEMORY", "DISK", "CONTAINERS", "LRPS", "TASKS", "STARTING", "EVACUATING"),
        [
            (
                state.cell_id,
                state.zone,
                f"{state.available_resources.memory_mb}/{state.total_resources.memory_mb}",
                f"{state.available_resources.disk_mb}/{state.total_resources.disk_mb}",
                f"{state.available_resources.containers}/{state.total_resources.containers}",
                str(len(state.lrps)),
                str(len(state.tasks)),
                str(state.starting_container_count),
                "yes" if state.evacuating else "no",
            )
            for state in states
        ],
    )


def domains(names: Sequence[str]) -> Table:
    return Table(("DOMAIN",), [(name,) for name in names])


def resources(rows: Sequence[Mapping[str, object]]) -> Table:
    """Locks or presences."""
    return Table(
        ("KEY", "OWNER", "VALUE"),
        [(str(row["key"]), str(row["owner"]), str(row.get("value", ""))) for row in rows],
    )


def _mebibytes(amount: int) -> str:
    return f"{amount}M" if amount else "unlimited"
