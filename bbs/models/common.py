"""Small values shared by desired and actual work: tags, variables, routes, log limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated

from bbs.models.meta import Int64, Json, UInt32

SOURCE_ID = "source_id"
"""The metric tag that says the same as a DesiredLRP's ``metrics_guid``."""


class DynamicValue(IntEnum):
    """A metric tag value the cell fills in for each instance."""

    DynamicValueInvalid = 0
    INDEX = 1
    INSTANCE_GUID = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ModificationTag:
    """ModificationTag."""

    epoch: str = ""
    index: UInt32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentVariable:
    """EnvironmentVariable."""

    name: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricTagValue:
    """exactly one of the two must be non-zero."""

    static: Annotated[str, Json("static", omit=True)] = ""
    dynamic: Annotated[DynamicValue, Json("dynamic", omit=True, lenient=True)] = DynamicValue(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRateLimit:
    """LogRateLimit."""

    bytes_per_second: Annotated[Int64, Json("bytes_per_second", omit=True)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """HEAD only. the "service binding file" message."""

    path: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Network."""

    properties: Annotated[Mapping[str, str], Json("properties", omit=True)] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateProperties:
    """CertificateProperties."""

    organizational_unit: Annotated[tuple[str, ...], Json("organizational_unit", omit=True)] = ()
