"""Control groups of different hosts: both versions, both drivers of the engine, mixed hierarchies."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from executor import cgroup
from executor.cgroup import group_paths, mounts, oom_counter, oom_kills, own_mounts
from executor.watch.counters import LimitCounters, read, read_limit_counters
from executor.watch.samples import Reading

pytestmark = pytest.mark.unit

ID = "4f5e6d7c" * 8
PID = 4711


@dataclass
class Host:
    """The kernel's files of a host with one container. mountinfo, membership: lines; files: by path."""

    root: Path
    mountinfo: list[str]
    membership: str
    files: dict[str, str] = field(default_factory=dict)

    def write(self) -> None:
        proc = self.root / "proc"
        (proc / str(PID) / "net").mkdir(parents=True)
        (proc / "self").mkdir()
        (proc / str(PID) / "cgroup").write_text(self.membership)
        (proc / str(PID) / "net" / "dev").write_text("x\ny\n  eth0: 5 0 0 0 0 0 0 0 6 0 0 0 0 0 0 0\n")
        lines = [line.replace("/sys/", f"{self.root}/sys/") for line in self.mountinfo]
        (proc / "self" / "mountinfo").write_text("\n".join(lines) + "\n")
        for path, text in self.files.items():
            file = self.root / "sys/fs/cgroup" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


VERSION_1 = [
    "24 1 0:22 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs rw,mode=755",
    "25 24 0:23 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
    "26 24 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct",
    "27 24 0:25 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids",
]
UNIFIED = (
    "30 1 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
)
BESIDE = "31 24 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate"
DOCKER, SCOPE = f"docker/{ID}", f"system.slice/docker-{ID}.scope"


def files_v1(group: str) -> dict[str, str]:
    return {
        f"memory/{group}/memory.stat": "rss 1\ntotal_rss 100\ntotal_cache 9\ntotal_inactive_file 8\n",
        f"memory/{group}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        f"cpu,cpuacct/{group}/cpuacct.usage": "123000\n",
        f"cpu,cpuacct/{group}/cpu.stat": "nr_periods 50\nnr_throttled 20\nthrottled_time 900\n",
        f"pids/{group}/pids.events": "max 4\n",
        f"pids/{group}/cgroup.procs": "",
    }


def files_v2(group: str) -> dict[str, str]:
    """As Linux 6.1 writes them, shortened where the kind of line repeats."""
    return {
        f"{group}/memory.stat": "anon 100\nfile 9\nkernel 5\ninactive_file 8\nworkingset_refault 0\n",
        f"{group}/memory.events": "low 0\nhigh 0\nmax 7\noom 5\noom_kill 3\noom_group_kill 0\n",
        f"{group}/cpu.stat": "usage_usec 123\nuser_usec 100\nnr_periods 50\nnr_throttled 20\n",
        f"{group}/pids.events": "max 4\n",
        f"{group}/cgroup.procs": "",
    }


def membership_v1(group: str, *, unified: str = "") -> str:
    lines = [
        f"4:memory:/{group}",
        f"3:cpu,cpuacct:/{group}",
        f"2:pids:/{group}",
        "1:name=systemd:/init.scope",
    ]
    return "".join(f"{line}\n" for line in (*lines, *([f"0::/{unified}"] if unified else [])))


HOSTS = {
    "version 1, cgroupfs driver": (VERSION_1, membership_v1(DOCKER), files_v1(DOCKER)),
    "version 1, systemd driver": (VERSION_1, membership_v1(SCOPE), files_v1(SCOPE)),
    "version 2, cgroupfs driver": ([UNIFIED], f"0::/{DOCKER}\n", files_v2(DOCKER)),
    "version 2, systemd driver": ([UNIFIED], f"0::/{SCOPE}\n", files_v2(SCOPE)),
    "both, controllers in version 1": (
        [*VERSION_1, BESIDE],
        membership_v1(SCOPE, unified=SCOPE),
        files_v1(SCOPE),
    ),
    "another slice": (
        [UNIFIED],
        f"0::/cells.slice/docker-{ID}.scope\n",
        files_v2(f"cells.slice/docker-{ID}.scope"),
    ),
    "an engine in a container": (
        [UNIFIED.replace(" / /sys", " /outer.slice /sys")],
        f"0::/outer.slice/{DOCKER}\n",
        files_v2(DOCKER),
    ),
}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path, *HOSTS[request.param])
    made.write()
    monkeypatch.setattr(cgroup, "PROC", tmp_path / "proc")
    return made


def test_a_container_is_read(host: Host) -> None:
    assert read(PID, ID, 42) == Reading(
        memory_usage=101, disk_usage=42, cpu_ns=123_000, rx_bytes=5, tx_bytes=6
    )


def test_its_strain_is_read(host: Host) -> None:
    assert read_limit_counters(PID, ID, own_mounts()) == LimitCounters(
        killed_for_memory=3, refused_processes=4, cpu_periods=50, throttled_periods=20
    )


def test_kills_for_memory_are_found(host: Host) -> None:
    counter = oom_counter(group_paths(host.membership), own_mounts())
    assert counter is not None
    assert oom_kills(counter.read_text()) == 3


def test_another_container_with_the_same_pid_is_not_read(host: Host) -> None:
    with pytest.raises(ProcessLookupError):
        read(PID, "0" * 64, 42)
    with pytest.raises(ProcessLookupError):
        read_limit_counters(PID, "0" * 64, own_mounts())


def test_a_group_without_controllers_is_an_error_and_no_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Host(tmp_path, [UNIFIED], f"0::/{SCOPE}\n").write()
    monkeypatch.setattr(cgroup, "PROC", tmp_path / "proc")
    with pytest.raises(FileNotFoundError, match="memory"):
        read(PID, ID, 42)
    with pytest.raises(FileNotFoundError, match=r"memory\.events"):
        read_limit_counters(PID, ID, own_mounts())


def test_what_is_not_mounted_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Host(tmp_path, [], f"0::/{SCOPE}\n").write()
    monkeypatch.setattr(cgroup, "PROC", tmp_path / "proc")
    with pytest.raises(FileNotFoundError, match="no control group file system shows"):
        read_limit_counters(PID, ID, [])


@pytest.mark.parametrize(
    ("membership", "counter"),
    [
        ("0::/docker/abc\n", "/sys/fs/cgroup/docker/abc/memory.events"),
        (
            "11:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/y\n",
            "/sys/fs/cgroup/memory/docker/abc/memory.oom_control",
        ),
        ("1:name=systemd:/x\n", None),
    ],
)
def test_where_memory_kills_are_counted(membership: str, counter: str | None) -> None:
    hierarchies = mounts("\n".join([UNIFIED, VERSION_1[1]]))
    found = oom_counter(group_paths(membership), hierarchies)
    assert (str(found) if found else None) == counter


@pytest.mark.parametrize(
    ("text", "kills"),
    [
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3),
        ("low 0\nhigh 0\nmax 5\noom 2\noom_kill 1\noom_group_kill 0\n", 1),
        ("oom_kill_disable 0\nunder_oom 0\n", 0),
    ],
)
def test_memory_kills(text: str, kills: int) -> None:
    assert oom_kills(text) == kills
