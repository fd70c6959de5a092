"""A small root filesystem for demonstrations and tests: static busybox, and the users root and vcap.

Built from the host's Debian package ``busybox-static``, without downloads.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker import APIClient
from docker.errors import DockerException, ImageNotFound

from cell.errors import CommandError
from executor.engine.images import remove_unused

BUSYBOX = Path("/bin/busybox")

_PASSWD = "root:x:0:0:root:/root:/bin/sh\nvcap:x:2000:2000:vcap:/home/vcap:/bin/sh\n"
_GROUP = "root:x:0:\nstaff:x:50:vcap\nvcap:x:2000:\n"

_FOLDERS = (
    ("bin", 0o755, 0),
    ("etc", 0o755, 0),
    ("home", 0o755, 0),
    ("home/vcap", 0o755, 2000),
    ("root", 0o700, 0),
    ("tmp", 0o1777, 0),
    ("usr", 0o755, 0),
    ("usr/bin", 0o755, 0),
    ("var", 0o755, 0),
)


@contextmanager
def engine_client(docker_host: str) -> Iterator[APIClient]:
    """A client of the container engine. Raises CommandError if a call in the block fails."""
    try:
        client = docker.APIClient(base_url=docker_host, version="auto")
        try:
            yield client
        finally:
            client.close()
    except DockerException as error:
        raise CommandError(
            f"the container engine at {docker_host} does not answer ({error}); start it with"
            " `systemctl start docker`"
        ) from error


def build_rootfs_tar(path: Path, busybox: Path = BUSYBOX) -> None:
    """Write the root filesystem's archive to ``path``: busybox with a link per applet, root and vcap.

    Raises OSError if busybox is missing and CalledProcessError if it does not run.
    """
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    with tarfile.open(path, "w") as archive:
        for name, mode, owner in _FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, mode, owner, owner
            archive.addfile(folder)
        _add_file(archive, "etc/passwd", _PASSWD.encode(), 0o644)
        _add_file(archive, "etc/group", _GROUP.encode(), 0o644)
        _add_file(archive, "bin/busybox", busybox.read_bytes(), 0o755)
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)


def ensure_image(
    client: APIClient, tag: str, folder: Path, build: Callable[[Path], None] = build_rootfs_tar
) -> str:
    """Create the image ``tag`` (``repository:tag``) if the engine lacks it; the archive is in ``folder``.

    build: writes the archive. Returns the tag. Raises the errors of docker and ``build``.
    """
    try:
        client.inspect_image(tag)
    except ImageNotFound:
        archive = folder / "rootfs.tar"
        build(archive)
        repository, _, version = tag.rpartition(":")
        client.import_image_from_file(str(archive), repository=repository, tag=version)
        archive.unlink()
    return tag


def remove_others(client: APIClient, name: str) -> list[str]:
    """Remove the images of a repository except ``name``; returns the removed ones.

    The engine refuses to remove images of containers, running or not; these stay. Raises docker's errors.
    """
    repository = name.rpartition(":")[0]
    others = {
        tag
        for image in client.images(repository)
        for tag in image["RepoTags"] or ()
        if tag != name and tag.rpartition(":")[0] == repository
    }
    return remove_unused(client, others)


def mounted_paths(client: APIClient) -> set[Path]:
    """Host paths mounted in containers, running or not. Raises docker's errors."""
    return {
        Path(mount["Source"])
        for container in client.containers(all=True)
        for mount in container["Mounts"]
        if mount["Type"] == "bind"
    }


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))
