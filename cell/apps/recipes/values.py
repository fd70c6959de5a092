"""Inputs of the recipes. The constants are those of a Cloud Controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bbs.models.workload import MediaType, SecurityGroupRule

VCAP = "vcap"
STAGING_DOMAIN = "cf-app-staging"
APPS_DOMAIN = "cf-apps"
APP_PORT = 8080
SSH_PORT = 2222
FILE_DESCRIPTORS = 16384
MAX_PIDS = 1024
STAGING_CPU_WEIGHT = 50
STAGING_MEMORY_MB = 1024
STAGING_DISK_MB = 6144
STAGING_TIMEOUT_S = 900
START_TIMEOUT_S = 60
DROPLET_DIR = "/home/vcap"
"""Path of a droplet layer on all our stacks: the home of vcap."""
LIFECYCLE_DIR = "/tmp/lifecycle"
RESULT_FILE = "/tmp/result.json"
REGISTRY_PASSWORD = "DOCKER_REGISTRY_PASSWORD"
"""The password variable of the docker builder; the same name is in ``lifecycle.docker.builder``."""
TRUSTED_CERTIFICATES = "/etc/cf-system-certificates"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The app. memory_mb, disk_mb: limits of an instance, MiB. env: set by the user."""

    guid: str
    name: str
    memory_mb: int = 1024
    disk_mb: int = 1024
    uris: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    space_id: str = "dev"
    space_name: str = "dev"
    organization_id: str = "dev"
    organization_name: str = "dev"
    api_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """An archive to download. sha256: hex, of its bytes; empty if unknown. media: its type."""

    url: str
    sha256: str = ""
    media: MediaType = MediaType.TGZ


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildpack:
    """One buildpack, in order.

    key: its id in the builder. asset: None if the builder downloads it from the URL that is its key.
    name: for people.
    """

    key: str
    name: str = ""
    asset: Asset | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """Upload targets. uploader: base URL. droplet_uri, cache_uri: final URLs, called by the uploader."""

    uploader: str
    droplet_uri: str
    cache_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """One staging of any lifecycle.

    stack: name of the preloaded root. lifecycle_url: of the bundle. callback_url: empty for none.
    layers: declare the downloads as image layers, so that the cell can choose how to fetch them.
    """

    guid: str
    app: App
    stack: str
    lifecycle_url: str
    egress_rules: tuple[SecurityGroupRule, ...] = ()
    platform_options: str = ""
    callback_url: str = ""
    layers: bool = False
    timeout_s: int = STAGING_TIMEOUT_S
    memory_mb: int = STAGING_MEMORY_MB
    disk_mb: int = STAGING_DISK_MB


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildpackStaging:
    """Buildpack staging. skip_detect: buildpacks were requested by name. cache: of an earlier staging."""

    package: Asset
    buildpacks: tuple[Buildpack, ...]
    uploads: Uploads
    skip_detect: bool
    cache: Asset | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerStaging:
    """image: reference without scheme. insecure_registries: ``host:port``.

    password_in_environment: pass the password to the builder in a variable, because every process of the
    container can read arguments. A Cloud Controller sends an argument, and Go's builder accepts only that.
    """

    image: str
    insecure_registries: tuple[str, ...] = ()
    username: str = ""
    password: str = field(default="", repr=False)
    password_in_environment: bool = False

    @property
    def argument(self) -> str | None:
        """The password as an argument; None if there is none or the environment has it."""
        return self.password if self.username and not self.password_in_environment else None

    @property
    def environment(self) -> dict[str, str]:
        """The variable with the password; empty if there is none or an argument has it."""
        hidden = self.username and self.password_in_environment
        return {REGISTRY_PASSWORD: self.password} if hidden else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """SSH keys of one LRP as text: PEM, and a line of authorized_keys. Fingerprints: of the host key."""

    host_private: str
    user_private: str
    user_public: str
    host_sha1: str
    host_sha256: str
    host_md5: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """Health check of an instance.

    kind: ``port``, ``http`` or ``process``. path: of http. timeout_s: of one check, 0 for the default.
    readiness_path: of a readiness check over HTTP, empty for none.
    """

    kind: str = "port"
    path: str = "/"
    timeout_s: int = 0
    readiness_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A process next to the app's. memory_mb: None for the app's."""

    name: str
    command: str
    memory_mb: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The process to run, for any lifecycle.

    version: GUID of this version. command: empty for that of the droplet or image. execution_metadata:
    from the staging. routes: under ``cf-router``, ``tcp-router`` and so on, plain JSON values.
    annotation: time of the last change, seconds with fraction. layers: as of a Staging.
    """

    app: App
    version: str
    type: str = "web"
    instances: int = 1
    command: str = ""
    execution_metadata: str = ""
    sidecars: tuple[Sidecar, ...] = ()
    ports: tuple[int, ...] = (APP_PORT,)
    health: HealthCheck = HealthCheck()
    keys: Keys | None = None
    routes: Mapping[str, object] = field(default_factory=dict)
    lifecycle_url: str
    start_timeout_s: int = START_TIMEOUT_S
    egress_rules: tuple[SecurityGroupRule, ...] = ()
    annotation: str = ""
    layers: bool = False

    @property
    def guid(self) -> str:
        """GUID of the LRP. The web process has the app's own GUID."""
        return f"{self.app.guid}-{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Droplet:
    """The result of a buildpack staging, and its stack."""

    asset: Asset
    stack: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A docker image to run. rootfs: its URI. user: of the image, ``root`` if it has none."""

    rootfs: str
    user: str = "root"
    username: str = ""
    password: str = ""
