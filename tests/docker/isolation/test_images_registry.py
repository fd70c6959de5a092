"""Images from a local registry: plain, with passwords, and with a private certificate authority."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import psutil
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from docker import APIClient
from docker.errors import ImageNotFound

from executor.engine.api import ContainerSpec, EngineContainer, ProcessSpec
from executor.engine.docker import DockerEngine
from executor.errors import ImageError
from executor.identity.authority import private_pem, utc_now

pytestmark = pytest.mark.docker

PATIENCE_S = 20.0
USER, PASSWORD = "cell", "hunter2"
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n"


@dataclass
class Registry:
    """A running registry, and how to put images into it."""

    address: str
    client: APIClient
    log: Path

    def push(self, image: str, tag: str, *, password: str = "") -> str:
        """Push a local image as ``app:tag``; answers its digest. The local name is dropped again."""
        repository = f"{self.address}/app"
        auth = {"username": USER, "password": password} if password else None
        self.client.tag(image, repository, tag)
        digest = ""
        for line in self.client.push(repository, tag, stream=True, decode=True, auth_config=auth):
            assert "error" not in line, line
            digest = line.get("aux", {}).get("Digest", digest)
        self.client.remove_image(f"{repository}:{tag}")
        return digest

    def drop(self) -> None:
        """Remove what the engine pulled from here."""
        for image in self.client.images():
            for name in [*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())]:
                if name.startswith(f"{self.address}/"):
                    with suppress(ImageNotFound):  # a digest goes with its last tag
                        self.client.remove_image(name, force=True)

    def pulls(self) -> int:
        """How many manifests were asked for by an engine."""
        lines = self.log.read_text(errors="replace").splitlines()
        return len([line for line in lines if '"GET /v2/app/manifests/' in line and '" 200 ' in line])


OpenRegistry = Callable[..., AbstractAsyncContextManager[Registry]]


@pytest.fixture
def registry(docker_client: APIClient, engine: DockerEngine, tmp_path: Path) -> OpenRegistry:
    """Starts a registry: ``async with registry()``; ``tls`` and ``auth`` are parts of its configuration.

    With it go the containers and images made of what it has. Engines talk to loopback addresses without
    verifying anything.
    """

    @asynccontextmanager
    async def opened(*, host: str = "127.0.0.1", tls: str = "", auth: str = "") -> AsyncIterator[Registry]:
        with socket.socket() as probe:
            probe.bind((host, 0))
            address = f"{host}:{probe.getsockname()[1]}"
        config = tmp_path / "registry.yml"
        config.write_text(
            "version: 0.1\nlog: {accesslog: {disabled: false}}\n"
            f"storage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
            f"http: {{addr: '{address}'{tls}}}\n{auth}"
        )
        log = tmp_path / "registry.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                "docker-registry", "serve", config, stdout=output, stderr=output
            )
        made = Registry(address, docker_client, log)
        try:
            await _until_listening(address, secure=bool(tls))
            yield made
        finally:
            process.terminate()
            await process.wait()
            for guid in await engine.list_guids():
                await engine.destroy(guid)
            await asyncio.to_thread(made.drop)

    return opened


async def _until_listening(address: str, *, secure: bool) -> None:
    """Wait until the registry answers, whatever it says."""
    url = f"{'https' if secure else 'http'}://{address}/v2/"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url, ssl=context):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


@pytest.fixture
def variant(docker_client: APIClient, rootfs_image: str, unique: str) -> Callable[..., str]:
    """Makes a local image that differs in one file, with variables of its own."""

    def made(content: str, *env: str) -> str:
        container = docker_client.create_container(rootfs_image, ["true"])["Id"]
        try:
            name = f"{unique}-{content}"
            changes = [f"ENV {variable}" for variable in env]
            changes.append(f"LABEL content={content}")
            docker_client.commit(container, repository=name, tag="1", changes=changes)
        finally:
            docker_client.remove_container(container)
        return f"{name}:1"

    return made


async def environment(engine: DockerEngine, made: EngineContainer) -> list[str]:
    told = bytearray()
    spec = ProcessSpec(path="/bin/env", env=made.image_env)
    process = await engine.start_process(made, spec, told.extend, told.extend)
    assert await process.wait() == 0
    return told.decode().splitlines()


async def test_tags_digests_and_the_variables_of_an_image(
    engine: DockerEngine, registry: OpenRegistry, variant: Callable[..., str]
) -> None:
    async with registry() as plain:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        image = variant("a", f"PATH={path}", "CUSTOM_GRACE_ENV=my-docker-configured-env")
        digest = await asyncio.to_thread(plain.push, image, "1")
        await asyncio.to_thread(engine_forget, plain, image)
        hexadecimal = digest.removeprefix("sha256:")
        for number, reference in enumerate(("#1", f"@sha256#{hexadecimal}", f"#other@{digest}")):
            spec = ContainerSpec(guid=f"g{number}", root_fs=f"docker://{plain.address}/app{reference}")
            told = await environment(engine, await engine.create(spec))
            assert told == [
                f"PATH={path}",
                "CUSTOM_GRACE_ENV=my-docker-configured-env",
                "USER=root",
                "HOME=/root",
            ]
            await engine.destroy(f"g{number}")


def engine_forget(registry: Registry, image: str) -> None:
    registry.client.remove_image(image, force=True)


async def test_a_moved_tag_is_seen(
    engine: DockerEngine, registry: OpenRegistry, variant: Callable[..., str]
) -> None:
    async with registry() as plain:
        seen = []
        for content in ("old", "new"):
            image = variant(content, f"CONTENT={content}")
            await asyncio.to_thread(plain.push, image, "latest")
            made = await engine.create(ContainerSpec(guid=content, root_fs=f"docker://{plain.address}/app"))
            seen.append(dict(made.image_env)["CONTENT"])
            await asyncio.to_thread(engine_forget, plain, image)
        assert seen == ["old", "new"]


async def test_creations_at_the_same_time_pull_once(
    engine: DockerEngine, registry: OpenRegistry, variant: Callable[..., str]
) -> None:
    async with registry() as plain:
        image = variant("same")
        await asyncio.to_thread(plain.push, image, "1")
        await asyncio.to_thread(engine_forget, plain, image)
        before, said = plain.pulls(), list[str]()
        root_fs = f"docker://{plain.address}/app#1"
        await asyncio.gather(
            *(
                engine.create(ContainerSpec(guid=f"g{number}", root_fs=root_fs), progress=said.append)
                for number in range(5)
            )
        )
        assert plain.pulls() - before == 1
        assert f"pulling image {plain.address}/app:1" in said


async def test_what_is_not_there_is_named(engine: DockerEngine, registry: OpenRegistry) -> None:
    async with registry() as plain:
        with pytest.raises(ImageError, match=rf"no/such:1 from registry {plain.address}: .*not found"):
            await engine.create(ContainerSpec(guid="g", root_fs=f"docker://{plain.address}/no/such#1"))


@pytest.fixture
async def silent_registry() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The address of a registry that begins to answer and never ends; and whether it was asked."""
    asked, over = asyncio.Event(), asyncio.Event()

    async def ping(request: web.Request) -> web.Response:
        return web.json_response({})

    async def hang(request: web.Request) -> web.Response:
        asked.set()
        await over.wait()
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/v2/", ping)
    app.router.add_get("/v2/{path:.+}", hang)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ((host, port),) = runner.addresses
    yield f"{host}:{port}", asked
    over.set()
    await runner.cleanup()


async def test_a_pull_that_hangs_can_be_cancelled_and_holds_nobody_up(
    engine: DockerEngine, silent_registry: tuple[str, asyncio.Event], rootfs_image: str
) -> None:
    address, asked = silent_registry
    creations = [
        asyncio.create_task(
            engine.create(ContainerSpec(guid=f"g{number}", root_fs=f"docker://{address}/app{number}#1"))
        )
        for number in range(10)
    ]
    async with asyncio.timeout(PATIENCE_S):
        await asked.wait()
        await engine.create(ContainerSpec(guid="other", root_fs=rootfs_image))
    begun = asyncio.get_running_loop().time()
    for creation in creations:
        creation.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait(creations)
    assert asyncio.get_running_loop().time() - begun < 5
    assert all(creation.cancelled() for creation in creations)
    assert await engine.list_guids() == {"other"}


async def test_passwords(
    engine: DockerEngine, registry: OpenRegistry, variant: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = f"auth: {{htpasswd: {{realm: cell, path: {tmp_path}/htpasswd}}}}\n"
    async with registry(auth=auth) as locked:
        image = variant("locked")
        await asyncio.to_thread(locked.push, image, "1", password=PASSWORD)
        await asyncio.to_thread(engine_forget, locked, image)
        root_fs = f"docker://{locked.address}/app#1"
        for password in ("", "wrong"):
            spec = ContainerSpec(
                guid="g", root_fs=root_fs, image_username=USER if password else "", image_password=password
            )
            with pytest.raises(ImageError, match=rf"app:1 from registry {locked.address}: ") as refused:
                await engine.create(spec)
            assert "auth" in str(refused.value)
            assert "wrong" not in str(refused.value)
        await engine.create(
            ContainerSpec(guid="g", root_fs=root_fs, image_username=USER, image_password=PASSWORD)
        )


async def test_an_authority_of_its_own(
    engine: DockerEngine, registry: OpenRegistry, variant: Callable[..., str], tmp_path: Path
) -> None:
    host = _own_address()
    certificate = _self_signed(tmp_path, host)
    tls = f", tls: {{certificate: {tmp_path}/registry.crt, key: {tmp_path}/registry.key}}"
    async with registry(host=host, tls=tls) as secure:
        image = variant("secure")
        trusted = Path("/etc/docker/certs.d", secure.address)
        trusted.mkdir(parents=True)
        spec = ContainerSpec(guid="g", root_fs=f"docker://{secure.address}/app#1")
        try:
            with pytest.raises(ImageError, match=rf"from registry {secure.address}: .*certificate"):
                await engine.create(spec)
            (trusted / "ca.crt").write_bytes(certificate)
            await asyncio.to_thread(secure.push, image, "1")
            await asyncio.to_thread(engine_forget, secure, image)
            await engine.create(spec)
        finally:
            shutil.rmtree(trusted)


def _own_address() -> str:
    """An address of this machine that is not a loopback one."""
    found = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family is socket.AF_INET and not ip_address(address.address).is_loopback
    ]
    return found[0]


def _self_signed(folder: Path, host: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(utc_now())
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    (folder / "registry.crt").write_bytes(certificate)
    (folder / "registry.key").write_bytes(private_pem(key))
    return certificate
