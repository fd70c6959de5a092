"""Mounts and control groups of a container with an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from cell.container.mounts import delegate, make_writable, read_only
from cell.errors import CommandError

pytestmark = pytest.mark.unit

VERSION_1 = """\
453 452 0:49 / /proc rw,nosuid - proc proc rw
457 456 0:53 / /sys/fs/cgroup ro,nosuid,nodev - tmpfs tmpfs rw,mode=755
458 457 0:29 /docker/79 /sys/fs/cgroup/cpu,cpuacct ro,nosuid - cgroup cgroup rw,cpu
459 457 0:30 /docker/79 /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
394 453 0:49 /sys /proc/sys ro,nosuid - proc proc rw
412 456 0:56 / /sys/firmware ro,relatime - tmpfs tmpfs ro
413 456 0:56 / /sys/fs/cgroups ro,relatime - tmpfs tmpfs ro
414 457 0:56 / /sys/fs/cgroup/a\\040b ro,relatime - cgroup cgroup rw
"""
VERSION_2 = """\
457 456 0:53 / /sys/fs/cgroup ro,nosuid,nodev - cgroup2 cgroup rw
394 453 0:49 /sys /proc/sys rw,nosuid - proc proc rw
"""


def test_control_groups_and_settings_of_the_kernel_are_made_writable_and_nothing_else() -> None:
    assert read_only(VERSION_1) == [
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/cpu,cpuacct",
        "/proc/sys",
        "/sys/fs/cgroup/a b",
    ]
    assert read_only(VERSION_2) == ["/sys/fs/cgroup"]


def test_a_mount_that_cannot_be_changed_names_what_the_container_lacks(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"nowhere stays read-only .*SYS_ADMIN"):
        make_writable([str(tmp_path / "nowhere")])


def test_with_version_2_the_processes_of_the_container_leave_the_root_of_their_group(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.procs").write_text("1\n")
    delegate(tmp_path)
    assert (tmp_path / "init/cgroup.procs").read_text() == "1"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_with_version_1_nothing_is_delegated(tmp_path: Path) -> None:
    delegate(tmp_path)
    assert list(tmp_path.iterdir()) == []
