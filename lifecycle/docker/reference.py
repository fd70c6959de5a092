"""Parser of Docker image references."""

from __future__ import annotations

import re
from dataclasses import dataclass

HUB = "docker.io"
HUB_REGISTRY = "registry-1.docker.io"
DEFAULT_TAG = "latest"

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_DOMAIN = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_DIGEST_SIGN = "@sha256"
_MAX_NAME = 255


class BadReference(Exception):
    """An invalid reference; ``str()`` is the cause."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An image reference. ``host`` is empty for Docker Hub; the last colon separates ``repository`` and
    ``tag``.

    In ``team/app@sha256:<hex>`` the repository ends with ``@sha256`` and the tag is the hex part.
    """

    host: str
    repository: str
    tag: str

    @property
    def image(self) -> str:
        """The image name that the platform stores."""
        name = f"{self.repository}:{self.tag}"
        return f"{self.host}/{name}" if self.host else name

    @property
    def registry(self) -> str:
        """The host that receives the requests."""
        return self.host if self.host and self.host != HUB else HUB_REGISTRY

    @property
    def name(self) -> str:
        """The repository without the digest suffix."""
        return self.repository.removesuffix(_DIGEST_SIGN)

    @property
    def full_name(self) -> str:
        """Host and repository, as used in messages."""
        return f"{self.host or HUB}/{self.name}"

    @property
    def version(self) -> str:
        """Tag or digest, as used in manifest requests."""
        return f"sha256:{self.tag}" if self.repository.endswith(_DIGEST_SIGN) else self.tag

    def check(self) -> None:
        """Raises BadReference if no registry can have such an image."""
        name = self.name
        if self.repository.endswith(_DIGEST_SIGN) and ":" in name:
            raise BadReference("Docker references with both a tag and digest are currently not supported")
        if self.host and not _DOMAIN.fullmatch(self.host):
            raise BadReference("invalid reference format")
        if not _NAME.fullmatch(name):
            lower = _NAME.fullmatch(name.lower()) is not None
            detail = ": repository name must be lowercase" if lower else ""
            raise BadReference(f"invalid reference format{detail}")
        if len(name) > _MAX_NAME:
            raise BadReference("repository name must not be more than 255 characters")
        version = self.version
        if not (_DIGEST if version != self.tag else _TAG).fullmatch(version):
            raise BadReference("invalid reference format")


def parse(text: str) -> Reference:
    """Split ``text`` into host, repository and tag, without checks. A one-part Hub name gets ``library/``."""
    name, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        name, tag = text, DEFAULT_TAG
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, repository = ("", rest) if first == HUB else (first, rest)
    else:
        host, repository = "", name
    if not host and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(host, repository, tag)
