"""Container metrics: formulas, and the kernel's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from executor import cgroup
from executor.cgroup import Mount, directory, flat, group_paths, mounts
from executor.model import ContainerMetrics
from executor.telemetry.api import Gauge
from executor.telemetry.meter import Meter
from executor.watch import counters
from executor.watch.counters import network_counters
from executor.watch.layerusage import below, held_by_storage, upper_directory
from executor.watch.samples import (
    ContainerLimits,
    Reading,
    cpu_percentage,
    entitlement_per_share,
    memory_usage_v1,
    memory_usage_v2,
    sample,
)

pytestmark = pytest.mark.unit


def test_memory_usage_leaves_out_what_is_free_to_drop() -> None:
    version1 = {"total_rss": 100, "total_cache": 50, "total_swap": 7, "total_inactive_file": 20, "rss": 1}
    assert memory_usage_v1(version1) == 137
    version2 = {"file": 50, "anon": 100, "swapcached": 7, "inactive_file": 20, "shmem": 3}
    assert memory_usage_v2(version2) == 137
    assert memory_usage_v1({"total_inactive_file": 5}) == 0
    assert memory_usage_v2({"inactive_file": 5}) == 0


@pytest.mark.parametrize(
    ("previous", "percentage"),
    [
        (None, 0.0),
        (ContainerMetrics(cpu_time_ns=1_000, age_ns=10_000), 0.0),
        (ContainerMetrics(cpu_time_ns=1_000, age_ns=9_000), 200.0),
        (ContainerMetrics(cpu_time_ns=2_500, age_ns=8_000), 25.0),
    ],
)
def test_cpu_percentage_is_over_the_time_between_two_readings(
    previous: ContainerMetrics | None, percentage: float
) -> None:
    assert cpu_percentage(3_000, 10_000, previous) == percentage


def test_a_sample_has_limits_entitlement_and_counters() -> None:
    reading = Reading(memory_usage=11, disk_usage=22, cpu_ns=500, rx_bytes=1, tx_bytes=2)
    allotment = ContainerLimits(memory_limit=33, disk_limit=44, cpu_shares=512)
    per_share = entitlement_per_share(cores=4, total_memory_mb=4096)
    metrics = sample(reading, allotment, age_ns=1_000_000, per_share=per_share, previous=None)
    assert metrics == ContainerMetrics(
        memory_usage=11,
        memory_limit=33,
        disk_usage=22,
        disk_limit=44,
        cpu_time_ns=500,
        age_ns=1_000_000,
        cpu_entitlement_ns=500_000,
        cpu_percentage=0.0,
        rx_bytes=1,
        tx_bytes=2,
    )


MOUNTINFO = """\
30 24 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
31 24 0:27 /outer /sys/fs/cgroup/cpu,cpuacct rw shared:10 master:1 - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 / /sys/fs/cgroup/unified\\040tree rw - cgroup2 cgroup2 rw,nsdelegate
"""


def test_control_groups_are_found_through_the_mounts() -> None:
    hierarchies = mounts(MOUNTINFO)
    assert hierarchies[1] == Mount("/outer", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct")
    paths = group_paths("4:cpu,cpuacct:/outer/docker/abc\n3:memory:/docker/abc\n0::/system.slice\n")
    found = {name: directory(name, paths, hierarchies) for name in ("memory", "cpuacct", "", "pids")}
    assert found == {
        "memory": Path("/sys/fs/cgroup/memory/docker/abc"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct/docker/abc"),
        "": Path("/sys/fs/cgroup/unified tree/system.slice"),
        "pids": None,
    }


def test_a_group_outside_of_what_is_mounted_is_not_found() -> None:
    paths = group_paths("4:cpu,cpuacct:/elsewhere\n")
    assert directory("cpuacct", paths, mounts(MOUNTINFO)) is None


def test_interface_counters_leave_out_the_loopback() -> None:
    table = (
        "Inter-|   Receive  |  Transmit\n face |bytes packets ...|bytes packets ...\n"
        "    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n"
        "  eth0: 120 1 0 0 0 0 0 0 34 1 0 0 0 0 0 0\n"
        "  eth1:   1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n"
    )
    assert network_counters(table) == (121, 36)


def test_flat_files() -> None:
    assert flat("usage_usec 12\nuser_usec 3\n") == {"usage_usec": 12, "user_usec": 3}


@pytest.mark.parametrize("version", [1, 2])
def test_a_reading_of_either_version(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    group = tree / "docker" / "abc"
    group.mkdir(parents=True)
    process = tmp_path / "proc" / "77"
    (process / "net").mkdir(parents=True)
    (process / "net" / "dev").write_text("x\ny\n eth0: 5 0 0 0 0 0 0 0 6 0 0 0 0 0 0 0\n")
    (tmp_path / "proc" / "self").mkdir()
    if version == 1:
        kind, options, membership = "cgroup", "rw,memory,cpuacct", "3:memory,cpuacct:/docker/abc\n"
        (group / "memory.stat").write_text("rss 1\ntotal_rss 100\ntotal_cache 9\ntotal_inactive_file 8\n")
        (group / "cpuacct.usage").write_text("123000\n")
    else:
        kind, options, membership = "cgroup2", "rw", "0::/docker/abc\n"
        (group / "memory.stat").write_text("anon 100\nfile 9\ninactive_file 8\n")
        (group / "cpu.stat").write_text("usage_usec 123\n")
    (process / "cgroup").write_text(membership)
    (tmp_path / "proc" / "self" / "mountinfo").write_text(f"1 1 0:1 / {tree} rw - {kind} x {options}\n")
    monkeypatch.setattr(cgroup, "PROC", tmp_path / "proc")
    assert counters.read(77, "abc", 42) == Reading(
        memory_usage=101, disk_usage=42, cpu_ns=123_000, rx_bytes=5, tx_bytes=6
    )


def test_a_process_that_is_gone_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "PROC", tmp_path)
    with pytest.raises(FileNotFoundError):
        counters.read(77, "abc", 0)


def test_a_process_id_of_somebody_else_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "cgroup").write_text("0::/docker/other\n")
    monkeypatch.setattr(cgroup, "PROC", tmp_path)
    with pytest.raises(ProcessLookupError, match="does not belong to container abc"):
        counters.read(77, "abc", 0)


def test_the_writable_layer_counts_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upper = tmp_path / "upper"
    (upper / "app").mkdir(parents=True)
    (upper / "app" / "data").write_bytes(os.urandom(1 << 20))
    monkeypatch.setattr(cgroup, "PROC", tmp_path)
    (tmp_path / "77").mkdir()
    info = tmp_path / "77" / "mountinfo"
    info.write_text(f"1 1 0:1 / / rw - overlay overlay rw,lowerdir=/a:/b,upperdir={upper},workdir=/w\n")
    assert upper_directory(77) == upper
    once = below(upper)
    assert 1 << 20 <= once.size < (1 << 20) + 65536
    os.link(upper / "app" / "data", upper / "app" / "again")
    again = below(upper)
    assert again.size - once.size < 65536
    assert once.inodes == again.inodes == 3
    info.write_text("1 1 0:1 / / rw - btrfs /dev/x rw\n")
    assert upper_directory(77) is None


def test_what_a_file_system_holds(tmp_path: Path) -> None:
    held = held_by_storage(tmp_path)
    assert held.size > 0
    assert held.inodes >= 0


def test_the_meter_counts_and_times() -> None:
    meter = Meter()
    meter.count("A")
    meter.count("A")
    meter.duration("D", 1.5)
    with meter.timed(succeeded="Good", failed="Bad"):
        pass
    with pytest.raises(ZeroDivisionError), meter.timed(succeeded="Better", failed="Worse"):
        raise ZeroDivisionError
    snapshot = meter.snapshot()
    assert snapshot.counters == {"A": 2}
    assert snapshot.gauges["D"] == Gauge(1_500_000_000, "nanos")
    assert set(snapshot.gauges) == {"D", "Good", "Worse"}
