"""Requests to the engine, the parent's command line, cgroup counters, static programs, error classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from docker.errors import APIError, DockerException, NotFound
from requests import Response
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException

from executor.cgroup import Mount
from executor.engine.api import BindMount, ContainerSpec
from executor.engine.binaries import is_static, require_static
from executor.engine.capabilities import UNPRIVILEGED, bounding_set
from executor.engine.createrequest import CellSettings, create_request
from executor.engine.faults import translate
from executor.engine.parent import is_on_its_way, parent_command, refusal
from executor.engine.privileged import mounts_of
from executor.engine.resolution import ResolvedProcess, refused_by_kernel
from executor.engine.storage import DiskSpace, Quota, quota_of, space_for
from executor.engine.users import User
from executor.errors import ContainerGone, EngineError, EngineUnavailable

pytestmark = pytest.mark.unit

SURROUNDINGS = CellSettings(
    owner="rep",
    cell_id="cell-1",
    name_prefix="cf-",
    dns_servers=("192.0.2.53",),
    init_path="/usr/bin/catatonit",
    busybox_path="/bin/busybox",
    capabilities=("CHOWN", "SYS_ADMIN"),
)
PROCESS = ResolvedProcess(
    user=User(uid=0, gid=0, home="/", exec_user="0"),
    directory="/",
    env=(("A", "1"),),
    program="/bin/sh",
    argv=("sh", "-c", "true"),
    nofile=None,
)


def request_for(spec: ContainerSpec, space: DiskSpace | None = None) -> dict[str, object]:
    return create_request(
        spec, image="i:1", io_dir=Path("/run/io/g"), settings=SURROUNDINGS, space=space or DiskSpace()
    )


@pytest.mark.parametrize("guid", ["-", "_-_", "task" + "-" * 60])
def test_a_guid_without_a_letter_at_its_end_makes_a_host_name(guid: str) -> None:
    """The engine refuses a container whose address belongs to no name."""
    request = request_for(ContainerSpec(guid=guid, root_fs="x", address="10.9.8.7"))
    host = request["HostConfig"]
    assert isinstance(host, dict)
    assert (request["Hostname"], host["ExtraHosts"]) == ("container", ["container:10.9.8.7"])


def test_an_unlimited_container_overrides_what_the_image_says() -> None:
    request = request_for(ContainerSpec(guid="_task-1", root_fs="x", address="10.9.8.7", labels={"a": "b"}))
    assert request == {
        "Image": "i:1",
        "Hostname": "task-1",
        "User": "0:0",
        "WorkingDir": "/",
        "Entrypoint": ["/.cell/init", "-P"],
        "Cmd": None,
        "Tty": False,
        "OpenStdin": False,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {
            "a": "b",
            "org.cloudfoundry.diego.owner": "rep",
            "org.cloudfoundry.diego.cell": "cell-1",
            "org.cloudfoundry.diego.guid": "_task-1",
            "org.cloudfoundry.diego.address": "10.9.8.7",
        },
        "HostConfig": {
            "NetworkMode": "none",
            "ExtraHosts": ["task-1:10.9.8.7"],
            "Dns": ["192.0.2.53"],
            "Mounts": [
                {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True}
                for source, target in (
                    ("/usr/bin/catatonit", "/.cell/init"),
                    ("/bin/busybox", "/.cell/busybox"),
                    ("/run/io/g", "/.cell/io"),
                )
            ],
            "LogConfig": {"Type": "none"},
            "RestartPolicy": {"Name": "no"},
            "Init": False,
            "CapDrop": ["ALL"],
            "CapAdd": [*UNPRIVILEGED],
            "SecurityOpt": [],
        },
    }


@pytest.mark.parametrize(
    ("spec", "quota", "expected"),
    [
        (ContainerSpec(guid="g", root_fs="x", memory_bytes=7), 0, {"Memory": 7, "MemorySwap": 7}),
        (ContainerSpec(guid="g", root_fs="x", max_pids=8), 0, {"PidsLimit": 8}),
        (ContainerSpec(guid="g", root_fs="x", cpu_shares=9), 0, {"CpuShares": 9}),
        (ContainerSpec(guid="g", root_fs="x", cpu_shares=1), 0, {"CpuShares": 2}),
        (ContainerSpec(guid="g", root_fs="x", cpu_shares=400_000), 0, {"CpuShares": 262_144}),
        (
            ContainerSpec(guid="g", root_fs="x", cpu_percent=12.5),
            0,
            {"CpuPeriod": 100_000, "CpuQuota": 12_500},
        ),
        (
            ContainerSpec(guid="g", root_fs="x", cpu_percent=0.01),
            0,
            {"CpuPeriod": 100_000, "CpuQuota": 1_000},
        ),
        (ContainerSpec(guid="g", root_fs="x", disk_bytes=10), 12, {"StorageOpt": {"size": "12"}}),
        (ContainerSpec(guid="g", root_fs="x", disk_bytes=10), 0, {}),
        (
            ContainerSpec(guid="g", root_fs="x", no_new_privileges=True),
            0,
            {"SecurityOpt": ["no-new-privileges"]},
        ),
        (
            ContainerSpec(guid="g", root_fs="x", privileged=True),
            0,
            {
                "CapDrop": ["ALL"],
                "CapAdd": ["CHOWN", "SYS_ADMIN"],
                "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
                "DeviceCgroupRules": ["a *:* rwm"],
                "UsernsMode": "host",
                "MaskedPaths": [],
                "ReadonlyPaths": [],
            },
        ),
    ],
)
def test_limits_and_privileges(spec: ContainerSpec, quota: int, expected: dict[str, object]) -> None:
    plain = request_for(ContainerSpec(guid="g", root_fs="x"))["HostConfig"]
    asked = request_for(spec, DiskSpace(quota=quota))["HostConfig"]
    assert isinstance(plain, dict)
    assert asked == plain | expected


def test_mounts_of_the_container_come_after_ours() -> None:
    mount = BindMount(source="/a", target="/b", read_only=False)
    config = request_for(ContainerSpec(guid="g", root_fs="x", mounts=(mount,)))["HostConfig"]
    assert isinstance(config, dict)
    assert config["Mounts"][-1] == {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": False}


def test_the_capabilities_of_a_container_are_the_recorded_ones() -> None:
    assert {*UNPRIVILEGED} == {*bounding_set(0x00000000A80425FB)}


@pytest.mark.parametrize(
    ("driver", "backing", "quota"),
    [
        ("btrfs", "", Quota.TOTAL),
        ("zfs", "", Quota.WRITTEN),
        ("overlay2", "xfs", Quota.WRITTEN),
        ("overlay2", "extfs", Quota.NONE),
        ("vfs", "xfs", Quota.NONE),
    ],
)
def test_what_a_storage_can_keep_containers_to(driver: str, backing: str, quota: Quota) -> None:
    assert quota_of({"Driver": driver, "DriverStatus": [["Backing Filesystem", backing]]}) is quota


ROOT = Mount("/", "/", "ext4", "rw")


def xfs_at(point: str, options: str) -> Mount:
    return Mount("/", point, "xfs", f"rw,attr2,inode64,{options}")


@pytest.mark.parametrize(
    ("mounted", "quota"),
    [
        ([ROOT, xfs_at("/var/lib/docker", "prjquota")], Quota.WRITTEN),
        ([ROOT, xfs_at("/var/lib/docker", "noquota")], Quota.NONE),
        ([ROOT, xfs_at("/var/lib/docker", "usrquota,grpquota")], Quota.NONE),
        ([xfs_at("/", "pquota")], Quota.WRITTEN),
        ([xfs_at("/", "noquota")], Quota.NONE),
        ([xfs_at("/", "noquota"), xfs_at("/var", "prjquota")], Quota.WRITTEN),
        ([xfs_at("/var", "prjquota"), xfs_at("/var", "noquota")], Quota.NONE),
        ([xfs_at("/var/lib/docker-other", "noquota"), ROOT], Quota.WRITTEN),
        ([ROOT], Quota.WRITTEN),
        ([], Quota.WRITTEN),
    ],
    ids=["on", "off", "other kinds", "root", "root off", "inner", "over", "elsewhere", "not seen", "nothing"],
)
def test_whether_xfs_keeps_quotas_is_seen_by_its_mount_unless_it_is_out_of_sight(
    mounted: list[Mount], quota: Quota
) -> None:
    info = {
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", "xfs"]],
        "DockerRootDir": "/var/lib/docker",
    }
    assert quota_of(info, mounted) is quota


MIB = 1 << 20


@pytest.mark.parametrize(
    ("quota", "disk", "own", "space"),
    [
        (Quota.NONE, 100 * MIB, True, DiskSpace(0, 30 * MIB)),
        (Quota.NONE, 100 * MIB, False, DiskSpace()),
        (Quota.NONE, 0, True, DiskSpace(0, 30 * MIB)),
        (Quota.WRITTEN, 100 * MIB, True, DiskSpace(70 * MIB, 30 * MIB)),
        (Quota.WRITTEN, 100 * MIB, False, DiskSpace(100 * MIB)),
        (Quota.WRITTEN, 0, True, DiskSpace(0, 30 * MIB)),
        (Quota.TOTAL, 100 * MIB, True, DiskSpace(100 * MIB, 30 * MIB)),
        (Quota.TOTAL, 100 * MIB, False, DiskSpace(130 * MIB)),
        (Quota.TOTAL, 20 * MIB, False, DiskSpace(50 * MIB)),
        (Quota.TOTAL, 0, False, DiskSpace()),
    ],
)
def test_an_image_of_its_own_counts_against_the_disk_limit_and_a_stack_does_not(
    quota: Quota, disk: int, own: bool, space: DiskSpace
) -> None:
    assert space_for(quota, disk, 30 * MIB, own=own) == space


@pytest.mark.parametrize("quota", Quota)
def test_an_image_that_leaves_nothing_of_the_disk_limit_is_refused(quota: Quota) -> None:
    with pytest.raises(ValueError, match=r"its 30M do not fit in the disk limit of 30M"):
        space_for(quota, 30 * MIB, 30 * MIB, own=True)


def test_a_container_remembers_what_its_image_takes() -> None:
    labels = request_for(ContainerSpec(guid="g", root_fs="x"), DiskSpace(own_image=7))["Labels"]
    assert isinstance(labels, dict)
    assert labels["org.cloudfoundry.diego.image-bytes"] == "7"


def test_capabilities_of_a_mask() -> None:
    assert bounding_set(0b100001) == ("CHOWN", "KILL")
    assert len(bounding_set(2**64 - 1)) == 38


@pytest.mark.parametrize(
    ("argv", "program", "arguments"),
    [
        (("sh", "-c", "true"), "/bin/sh", ["/bin/sh", "-c", "true"]),
        (("./run", "x=y"), "/app/run", ["./run", "x=y"]),
        (("/opt/a=b",), "/opt/a=b", ["/.cell/busybox", "setpriv", "/opt/a=b"]),
    ],
)
def test_a_parent_starts_the_program(argv: tuple[str, ...], program: str, arguments: list[str]) -> None:
    command, env = parent_command(replace(PROCESS, argv=argv, program=program), "1")
    assert command[:3] == ["/.cell/busybox", "sh", "-c"]
    assert command[4] == "/.cell/io/1"
    assert command[-len(arguments) - 2 :] == ["/.cell/io/1", "", *arguments]
    assert env == ["E0=A=1"]


def test_a_lowered_process_begins_as_root_and_its_variables_mean_nothing_to_what_lowers_it() -> None:
    user = User(uid=2000, gid=3000, home="/", exec_user="vcap")
    lowered = replace(PROCESS, user=user, groups=(50,), env=(("LD_PRELOAD", "/x"), ("SECRET", "hunter2")))
    command, env = parent_command(lowered, "1", lowered=True)
    assert env == ["E0=LD_PRELOAD=/x", "E1=SECRET=hunter2"]
    assert not [argument for argument in command if "LD_PRELOAD" in argument or "hunter2" in argument]
    lowering = command[command.index("/.cell/lower/ld.so") :]
    assert lowering == [
        *("/.cell/lower/ld.so", "--library-path", "/.cell/lower", "/.cell/lower/setpriv"),
        "--bounding-set=-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,"
        "+setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write,+sys_admin",
        *("--inh-caps=-all", "--regid=3000", "--groups=50,3000", "--reuid=2000"),
        *("/.cell/busybox", "sh", "-c", 'exec env -i "$E0" "$E1" "$@"', "sh", "/bin/sh", "-c", "true"),
    ]
    assert 'exec env -i E0="$E0" E1="$E1" "$@"' in command[5]


def test_what_a_process_is_on_the_way_to_its_program() -> None:
    steps = ("/.cell/lower/ld.so\0--library-path\0x\0", '/.cell/busybox\0sh\0-c\0exec env -i "$E0" "$@"\0')
    assert all(is_on_its_way(step.encode()) for step in steps)
    assert not any(map(is_on_its_way, (b"", b"/bin/sh\0-c\0true\0", b"/.cell/busybox\0sh\0-c\0sleep 1\0")))


def test_what_a_privileged_container_needs_to_lower_its_users() -> None:
    told = (
        "\tlinux-vdso.so.1 (0x00007f75b94b2000)\n"
        "\tlibcap-ng.so.0 => /lib/x86_64-linux-gnu/libcap-ng.so.0 (0x00007f75b9484000)\n"
        "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f75b92a2000)\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007f75b94b4000)\n"
    )
    assert {(mount.source, mount.target) for mount in mounts_of(told) if mount.read_only} == {
        ("/usr/bin/setpriv", "/.cell/lower/setpriv"),
        ("/lib64/ld-linux-x86-64.so.2", "/.cell/lower/ld.so"),
        ("/lib/x86_64-linux-gnu/libcap-ng.so.0", "/.cell/lower/libcap-ng.so.0"),
        ("/lib/x86_64-linux-gnu/libc.so.6", "/.cell/lower/libc.so.6"),
    }
    with pytest.raises(EngineError, match="no interpreter"):
        mounts_of("\tstatically linked\n")


def test_only_privileged_containers_get_what_lowers() -> None:
    lowering = (BindMount(source="/usr/bin/setpriv", target="/.cell/lower/setpriv"),)
    settings = replace(SURROUNDINGS, lowering=lowering)
    for privileged in (False, True):
        request = create_request(
            ContainerSpec(guid="g", root_fs="x", privileged=privileged),
            image="i:1",
            io_dir=Path("/run/io/g"),
            settings=settings,
            space=DiskSpace(),
        )
        targets = [mount["Target"] for mount in request["HostConfig"]["Mounts"]]
        assert ("/.cell/lower/setpriv" in targets) is privileged
        assert ("org.cloudfoundry.diego.privileged" in request["Labels"]) is privileged


def test_values_of_variables_are_in_no_argument() -> None:
    command, env = parent_command(replace(PROCESS, env=(("A", "1"), ("SECRET", "hunter2"))), "1")
    assert env == ["E0=A=1", "E1=SECRET=hunter2"]
    assert not [argument for argument in command if "hunter2" in argument]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (b"env: can't execute '/bin/sh': No such file or directory\n", "No such file or directory"),
        (b"setpriv: can't execute '/bin/sh': Argument list too long\n", "Argument list too long"),
        (b"env: can't execute '/bin/other': No such file or directory\n", ""),
        (b"env: can't execute '/bin/sh': No such file or directory\nand more\n", ""),
        (b"", ""),
    ],
)
def test_a_refusal_is_told_from_output(output: bytes, reason: str) -> None:
    assert refusal(PROCESS, output) == reason


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("Permission denied", 'exec: "/bin/sh": permission denied'),
        ("No such file or directory", "exec /bin/sh: no such file or directory"),
        ("Argument list too long", "exec /bin/sh: argument list too long"),
    ],
)
def test_what_a_refused_program_is_called(reason: str, text: str) -> None:
    error = refused_by_kernel(PROCESS, reason)
    assert str(error) == f"exec failed: unable to start container process: {text}"


def test_static_programs(tmp_path: Path) -> None:
    require_static("/bin/busybox", "busybox-static")
    assert not is_static(Path("/bin/cat").read_bytes())
    assert not is_static(b"#!/bin/sh\n")
    with pytest.raises(
        EngineError, match="not a statically linked program; install the Debian package catatonit"
    ):
        require_static("/bin/cat", "catatonit")
    with pytest.raises(EngineError, match="No such file or directory; install the Debian package catatonit"):
        require_static(str(tmp_path / "none"), "catatonit")


def answer(status: int) -> Response:
    response = Response()
    response.status_code = status
    return response


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFound("x", answer(404), "No such container: abc"), ContainerGone),
        (NotFound("x", answer(404), "Could not find the file /x"), EngineError),
        (APIError("x", answer(409), "Container abc is not running"), ContainerGone),
        (APIError("x", answer(409), "name already in use"), EngineError),
        (APIError("x", answer(500), "boom"), EngineError),
        (DockerException("Error while fetching server API version"), EngineUnavailable),
        (RequestsConnectionError("refused"), EngineUnavailable),
    ],
)
def test_error_classes(error: DockerException | RequestException, kind: type[EngineError]) -> None:
    translated = translate(error, "do it")
    assert type(translated) is kind
    assert str(translated).startswith("do it: ")
