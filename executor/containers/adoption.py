"""Adoption: what happens to a container of the previous agent process. Pure.

=================  ==================  ====================================================================
state in the row   in the engine       decision
=================  ==================  ====================================================================
reserved           any                 restore: the run request is still to come
initializing       any                 recreate: destroy what exists, then create again
created, running   the same, running   adopt: its steps continue
created, running   gone or another     finish, as for a container that the engine lost
completed          any                 restore, with the engine's container if it is the same
=================  ==================  ====================================================================

After a boot of the machine no container can be adopted, because its processes are gone.
"""

from __future__ import annotations

from enum import Enum

from executor.containers.record import ContainerRecord
from executor.engine.api import EngineContainer
from executor.model import ContainerState


class View(Enum):
    """What the engine runs under the guid of a container."""

    ABSENT = "absent"
    SAME = "same"
    OTHER = "other"


class Decision(Enum):
    """What the executor does with a container of the previous agent process."""

    RESTORE = "restore"
    RECREATE = "recreate"
    ADOPT = "adopt"
    FINISH = "finish"


def view(record: ContainerRecord, found: EngineContainer | None) -> View:
    """Compare the engine's running container with the record. found: None if there is none."""
    if found is None:
        return View.ABSENT
    return View.SAME if found.id == record.engine_id else View.OTHER


def decide(state: ContainerState, view: View, *, same_boot: bool) -> Decision:
    """The decision of the table above. same_boot: whether the previous process ran since the last boot."""
    match state:
        case ContainerState.RESERVED | ContainerState.COMPLETED:
            return Decision.RESTORE
        case ContainerState.INITIALIZING:
            return Decision.RECREATE
        case ContainerState.CREATED | ContainerState.RUNNING:
            return Decision.ADOPT if same_boot and view is View.SAME else Decision.FINISH
