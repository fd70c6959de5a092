"""The decision about each container of the previous agent process."""

from __future__ import annotations

import itertools

import pytest

from executor.containers.adoption import Decision, View, decide, view
from executor.containers.record import ContainerRecord
from executor.engine.api import EngineContainer
from executor.model import Container, ContainerState

pytestmark = pytest.mark.unit

RECORD = ContainerRecord(container=Container(guid="ig"), engine_id="recorded")


def expected(state: ContainerState, seen: View, *, same_boot: bool) -> Decision:
    """The table as a list of exceptions, written another way than the code."""
    if state is ContainerState.INITIALIZING:
        return Decision.RECREATE
    created = state in (ContainerState.CREATED, ContainerState.RUNNING)
    if created and seen is View.SAME and same_boot:
        return Decision.ADOPT
    return Decision.FINISH if created else Decision.RESTORE


@pytest.mark.parametrize(
    ("state", "seen", "same_boot"), list(itertools.product(ContainerState, View, (True, False)))
)
def test_every_state_and_view_has_its_decision(state: ContainerState, seen: View, same_boot: bool) -> None:
    assert decide(state, seen, same_boot=same_boot) is expected(state, seen, same_boot=same_boot)


@pytest.mark.parametrize(
    ("engine_id", "seen"), [(None, View.ABSENT), ("recorded", View.SAME), ("replaced", View.OTHER)]
)
def test_a_container_is_the_same_by_its_id_in_the_engine(engine_id: str | None, seen: View) -> None:
    found = engine_id and EngineContainer(guid="ig", id=engine_id, init_pid=1, address="")
    assert view(RECORD, found or None) is seen
