"""The catalogue of metrics: names, completeness, its reference page."""

from __future__ import annotations

import re

import pytest

from cell.assembly.catalogue import ALL, SSH_PROXY
from cell.documentation import metrics
from common.metrics.families import OUTCOME, Family, Kind
from executor.containers.adoption import Decision
from executor.telemetry.families import DECISIONS, STAGES
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.unit

COMPONENT_METRICS = [
    "CapacityTotalMemory",
    "CapacityTotalDisk",
    "CapacityRemainingMemory",
    "CapacityRemainingDisk",
    "CapacityAllocatedMemory",
    "CapacityAllocatedDisk",
    "ContainerUsageMemory",
    "ContainerUsageDisk",
    "CapacityTotalContainers",
    "CapacityRemainingContainers",
    "ContainerCount",
    "StartingContainerCount",
    "RequestsStarted",
    "RequestsSucceeded",
    "RequestsFailed",
    "RequestsInFlight",
    "RequestsCancelled",
    "RequestLatencyMax",
    "RepBulkSyncDuration",
    "StrandedEvacuatingActualLRPs",
    "StalledGardenDuration",
    "GardenHealthCheckFailed",
    "CellUnhealthy",
    "ContainerSetupSucceededDuration",
    "ContainerSetupFailedDuration",
    "GardenContainerCreationSucceededDuration",
    "GardenContainerCreationFailedDuration",
    "GardenContainerDestructionSucceededDuration",
    "GardenContainerDestructionFailedDuration",
    "ContainerCompletedCount",
    "ContainerExitedOnTimeoutCount",
    "AppInstanceExceededLogRateLimitCount",
    "CredCreationSucceededCount",
    "CredCreationFailedCount",
    "CredCreationSucceededDuration",
    "HTTPLivenessChecksFailedCount",
    "TCPLivenessChecksFailedCount",
    "VolmanMountDuration",
    "VolmanUnmountDuration",
    "VolmanMountErrors",
    "VolmanUnmountErrors",
]


@pytest.mark.parametrize("family", [*ALL, *SSH_PROXY], ids=lambda family: family.name)
def test_names_follow_the_conventions(family: Family) -> None:
    assert re.fullmatch(r"diego_(cell|ssh_proxy)_[a-z0-9_]+", family.name)
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    assert family.name.endswith("_seconds") or family.kind is not Kind.HISTOGRAM
    assert list(family.buckets) == sorted(family.buckets)
    assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
    assert re.fullmatch(r"[^|\n]+\.", family.text)
    assert not any("guid" in label.name for label in family.labels)
    assert OUTCOME not in family.labels[:-1]


def test_no_name_is_there_twice() -> None:
    assert len({family.name for family in ALL}) == len(ALL)


def test_every_family_of_the_code_is_in_the_catalogue() -> None:
    files = [*REPOSITORY.glob("*/**/families.py"), REPOSITORY / "cell/assembly/catalogue.py"]
    in_code = {
        name
        for file in files
        if ".venv" not in file.parts
        for name in re.findall(r"\"(diego_[a-z0-9_]+)\"", file.read_text())
    }
    assert in_code == {family.name for family in (*ALL, *SSH_PROXY)}


def test_every_component_metric_of_diego_has_its_family() -> None:
    replaced = {name for family in ALL for name in family.replaces}
    assert sorted(set(COMPONENT_METRICS) - replaced) == []


def test_the_reference_is_current() -> None:
    """Otherwise: ``python -m cell.documentation.metrics``."""
    page = metrics.PAGE.read_text()
    assert metrics.renewed(page) == page


def test_the_reference_needs_its_place() -> None:
    with pytest.raises(ValueError, match="has no"):
        metrics.renewed("# Metrics\n")


def test_labels_name_what_the_code_does() -> None:
    assert set(DECISIONS) == {decision.value for decision in Decision}
    page = metrics.PAGE.read_text()
    assert [stage for stage in STAGES if f"| `{stage}` |" not in page] == []
