"""What tests on a real engine share: the engine is up, a tiny image, unique names, no leftovers."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest
from docker import APIClient
from docker.errors import DockerException

from cell.images import ensure_image
from executor.engine.docker import DockerEngine, EngineConfig

IMAGE = "diego-cell/test-rootfs:1"


@pytest.fixture(scope="session")
def docker_client() -> Iterator[APIClient]:
    """A client of the engine, which has to answer: `make docker-tests` starts one."""
    try:
        client = docker.APIClient(version="auto")
    except DockerException as error:
        pytest.fail(f"no container engine: {error}; start one with scripts/setup, or run `make unit`")
    yield client
    client.close()


@pytest.fixture(scope="session")
def rootfs_image(docker_client: APIClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a local image with busybox, root and vcap (uid 2000, home /home/vcap)."""
    return ensure_image(docker_client, IMAGE, tmp_path_factory.mktemp("image"))


@pytest.fixture
def unique() -> str:
    """A short name nobody else uses at the same time."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
async def engine(docker_client: APIClient, unique: str, tmp_path: Path) -> AsyncIterator[DockerEngine]:
    """An engine room on the engine's own bridge; its containers go with it."""
    room = DockerEngine(
        EngineConfig(state_dir=tmp_path, owner=unique, cell_id=unique, name_prefix=f"{unique}-")
    )
    try:
        yield room
    finally:
        for guid in await room.list_guids():
            await room.destroy(guid)
        await room.close()
