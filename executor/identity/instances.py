"""Instance identities of a cell's containers: directories, mounts, and periodic renewal."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Set
from datetime import timedelta
from typing import Protocol

from common.shielded import finish
from executor.config import ExecutorConfig
from executor.engine.api import BindMount
from executor.environment import Env
from executor.identity.authority import Authority, IdentityError, private_pem, utc_now
from executor.identity.files import CERTIFICATE, KEY, CredentialFiles
from executor.identity.keys import GENERATORS, KeyPool
from executor.identity.profile import identity_profile, renewal_delay_s
from executor.model import Container
from executor.reasons import reason_of
from executor.telemetry.meter import Meter

CONTAINER_DIR = "/etc/cf-instance-credentials"

ENV: Env = (
    ("CF_INSTANCE_CERT", f"{CONTAINER_DIR}/{CERTIFICATE}"),
    ("CF_INSTANCE_KEY", f"{CONTAINER_DIR}/{KEY}"),
)

Sleep = Callable[[float], Awaitable[object]]


class Runner(Protocol):
    """Renews the credentials of one container."""

    @property
    def ready(self) -> asyncio.Event:
        """Set once the first credentials are in place."""
        ...

    async def run(self) -> None:
        """Runs until cancelled. Raises IdentityError."""
        ...


class Identity(Protocol):
    """The identities of a cell's containers. env: the variables of each container."""

    env: Env

    async def run(self) -> None:
        """Background work, until cancelled; may return immediately."""
        ...

    async def prepare(self, container: Container) -> tuple[BindMount, ...]:
        """The mounts of a container that will be created. Raises IdentityError."""
        ...

    def runner(self, container: Container) -> Runner | None:
        """The runner of a created container; None without credentials to renew."""
        ...

    async def remove(self, guid: str) -> None:
        """Remove a container's credentials; unknown guids are allowed. Raises IdentityError."""
        ...

    async def retain(self, guids: Set[str]) -> None:
        """Remove the credentials of all other containers. Raises IdentityError."""
        ...


class NoIdentity:
    """Implements :class:`Identity` for a cell without instance identities."""

    env: Env = ()

    async def run(self) -> None:
        return

    async def prepare(self, container: Container) -> tuple[BindMount, ...]:
        return ()

    def runner(self, container: Container) -> Runner | None:
        return None

    async def remove(self, guid: str) -> None:
        return

    async def retain(self, guids: Set[str]) -> None:
        return


class InstanceIdentity:
    """Implements :class:`Identity` with a certificate per container, in files that it sees read-only."""

    env: Env = ENV

    def __init__(
        self,
        authority: Authority,
        keys: KeyPool,
        files: CredentialFiles,
        *,
        validity_s: float,
        meter: Meter,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._authority = authority
        self._keys = keys
        self._files = files
        self._validity_s = validity_s
        self._meter = meter
        self._sleep = sleep

    async def run(self) -> None:
        await self._keys.run()

    async def prepare(self, container: Container) -> tuple[BindMount, ...]:
        try:
            directory = await finish(asyncio.to_thread(self._files.prepare, container.guid))
        except (OSError, ValueError) as error:
            raise IdentityError(f"credentials of instance {container.guid}: {error}") from error
        return (BindMount(source=directory, target=CONTAINER_DIR),)

    def runner(self, container: Container) -> CredentialRunner:
        return CredentialRunner(
            lambda: self._renew(container),
            lambda: asyncio.to_thread(self._remaining_s, container.guid),
            validity_s=self._validity_s,
            sleep=self._sleep,
        )

    async def remove(self, guid: str) -> None:
        try:
            await finish(asyncio.to_thread(self._files.remove, guid))
        except (OSError, ValueError) as error:
            raise IdentityError(f"credentials of instance {guid} cannot be removed: {error}") from error

    async def retain(self, guids: Set[str]) -> None:
        try:
            await asyncio.to_thread(self._files.retain, guids)
        except (OSError, ValueError) as error:
            raise IdentityError(f"credentials of an earlier life cannot be removed: {error}") from error

    def _remaining_s(self, guid: str) -> float:
        """Seconds until the credentials of a container expire; 0 without a matching pair of files.

        A kill between the two renames leaves a key beside the previous certificate.
        """
        try:
            certificate, key = self._files.read(guid)
            return self._authority.remaining_s(certificate, key, utc_now())
        except (OSError, ValueError):
            return 0.0

    async def _renew(self, container: Container) -> None:
        try:
            with self._meter.timed(succeeded="CredCreationSucceededDuration"):
                key = await self._keys.take()
                profile = identity_profile(container)

                def issue() -> None:
                    validity = timedelta(seconds=self._validity_s)
                    certificate = self._authority.issue(profile, key, now=utc_now(), validity=validity)
                    self._files.replace(container.guid, certificate=certificate, key=private_pem(key))

                await finish(asyncio.to_thread(issue))  # the files must not appear after their removal
        except (OSError, IdentityError) as error:
            self._meter.count("CredCreationFailedCount")
            reason = str(error) if isinstance(error, IdentityError) else reason_of(error)
            raise IdentityError(f"credentials of instance {container.guid}: {reason}") from error
        self._meter.count("CredCreationSucceededCount")


class CredentialRunner:
    """Implements :class:`Runner`: creates credentials, and renews them before they expire, until
    cancelled. Credentials of a previous agent process stay until their renewal is due.

    remaining_s: seconds until the present credentials expire, 0 without any.
    """

    def __init__(
        self,
        renew: Callable[[], Awaitable[None]],
        remaining_s: Callable[[], Awaitable[float]],
        *,
        validity_s: float,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._renew = renew
        self._remaining_s = remaining_s
        self._validity_s = validity_s
        self._sleep = sleep
        self.ready = asyncio.Event()

    async def run(self) -> None:
        elapsed_s = self._validity_s - await self._remaining_s()
        while True:
            delay_s = renewal_delay_s(self._validity_s, random.random()) - elapsed_s
            if delay_s <= 0:
                await self._renew()
                elapsed_s = 0.0
                continue
            self.ready.set()
            await self._sleep(delay_s)
            elapsed_s = self._validity_s


def configured_identity(config: ExecutorConfig, meter: Meter) -> Identity:
    """The identity implementation for the configuration. Raises IdentityError."""
    if not config.instance_identity_cred_dir:
        return NoIdentity()
    return InstanceIdentity(
        Authority.load(config.instance_identity_ca_path, config.instance_identity_private_key_path),
        KeyPool(
            GENERATORS[config.instance_identity_key_type],
            ready=config.instance_identity_keys_ready,
            threads=os.cpu_count() or 1,
        ),
        CredentialFiles(config.instance_identity_cred_dir),
        validity_s=config.instance_identity_validity_period_s,
        meter=meter,
    )
