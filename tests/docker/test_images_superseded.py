"""Locally built images: older ones are removed unless containers use them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator

import pytest
from docker import APIClient
from docker.errors import ImageNotFound

from cell.development.images import mounted_paths, remove_others

pytestmark = pytest.mark.docker


def _archive(content: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue()


@pytest.fixture
def imported(docker_client: APIClient, unique: str) -> Iterator[Callable[[str], str]]:
    """Makes an image of that tag, in a repository of its own; its name."""
    names: list[str] = []

    def make(tag: str) -> str:
        docker_client.import_image_from_data(_archive(tag), repository=f"diego-cell/{unique}", tag=tag)
        names.append(f"diego-cell/{unique}:{tag}")
        return names[-1]

    yield make
    for name in names:
        try:
            docker_client.remove_image(name)
        except ImageNotFound:
            continue


def _there(client: APIClient, name: str) -> bool:
    try:
        client.inspect_image(name)
    except ImageNotFound:
        return False
    return True


def test_earlier_images_go_unless_a_container_has_them(
    docker_client: APIClient, imported: Callable[[str], str], unique: str
) -> None:
    old, used, current = map(imported, ("old", "used", "current"))
    container = docker_client.create_container(used, ["/file"], name=unique)["Id"]
    try:
        assert remove_others(docker_client, current) == [old]
        assert [_there(docker_client, name) for name in (old, used, current)] == [False, True, True]
    finally:
        docker_client.remove_container(container)
    assert remove_others(docker_client, current) == [used]
    assert remove_others(docker_client, current) == []


def test_what_containers_have_of_this_machine(
    docker_client: APIClient,
    imported: Callable[[str], str],
    unique: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("mounted")
    config = docker_client.create_host_config(binds=[f"{folder}:/mnt:ro"])
    image = imported("one")
    docker_client.create_container(image, ["/file"], name=unique, volumes=["/mnt"], host_config=config)
    try:
        assert folder in mounted_paths(docker_client)
    finally:
        docker_client.remove_container(unique)
    assert folder not in mounted_paths(docker_client)
