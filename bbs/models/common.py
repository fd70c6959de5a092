"""Small values shared by desired and actual LRPs: tags, variables, routes, log limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated

from bbs.models.meta import Int64, Json, UInt32

SOURCE_ID = "source_id"
"""The metric tag with the same value as a DesiredLRP's ``metrics_guid``."""


class DynamicValue(IntEnum):
    """A metric tag value that the cell sets for each instance."""

    DynamicValueInvalid = 0
    INDEX = 1
    INSTANCE_GUID = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ModificationTag:
    """Version of a record.

    epoch: UUID from its creation.
    index: number of changes since.
    """

    epoch: str = ""
    index: UInt32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentVariable:
    """An environment variable of a process."""

    name: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricTagValue:
    """Value of a metric tag: either a fixed text or one that the cell sets."""

    static: Annotated[str, Json("static", omit=True)] = ""
    dynamic: Annotated[DynamicValue, Json("dynamic", omit=True, lenient=True)] = DynamicValue(0)

    def of_instance(self, index: int, instance_guid: str) -> str:
        """The text for one instance."""
        match self.dynamic:
            case DynamicValue.INDEX:
                return str(index)
            case DynamicValue.INSTANCE_GUID:
                return instance_guid
            case _:
                return self.static


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRateLimit:
    """Log rate limit of an instance.

    bytes_per_second: -1 is unlimited, 0 drops everything. Without a limit it is unlimited, too.
    """

    bytes_per_second: Annotated[Int64, Json("bytes_per_second", omit=True)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file written into the container before its first process, such as a service binding.

    path: relative to the root of such files.
    content: UTF-8; at most 1 MiB for all files together.
    """

    path: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Properties passed to the container's network, such as ``app_id`` or ``policy_group_id``."""

    properties: Annotated[Mapping[str, str], Json("properties", omit=True)] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateProperties:
    """Contents of the instance identity certificate.

    organizational_unit: by convention ``app:GUID``, ``space:GUID``, ``organization:GUID``.
    """

    organizational_unit: Annotated[tuple[str, ...], Json("organizational_unit", omit=True)] = ()
