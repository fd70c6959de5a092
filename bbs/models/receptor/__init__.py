"""JSON of the Receptor, Diego's REST API of 2015, converted to and from the current models.

Readers accept every earlier spelling and the current one; writers use the form of November 2015. Readers
raise :class:`~bbs.models.invalid.InvalidDocument`, and its subclass :class:`MissingField` for a missing
required field.
"""

from bbs.models.receptor.read import (
    DEFAULT_USER,
    MissingField,
    read_action,
    read_actual_lrp,
    read_cell,
    read_desired_lrp,
    read_desired_lrp_update,
    read_task,
    read_task_definition,
)
from bbs.models.receptor.write import (
    write_action,
    write_actual_lrp,
    write_cell,
    write_desired_lrp,
    write_desired_lrp_update,
    write_task,
)

__all__ = [
    "DEFAULT_USER",
    "MissingField",
    "read_action",
    "read_actual_lrp",
    "read_cell",
    "read_desired_lrp",
    "read_desired_lrp_update",
    "read_task",
    "read_task_definition",
    "write_action",
    "write_actual_lrp",
    "write_cell",
    "write_desired_lrp",
    "write_desired_lrp_update",
    "write_task",
]
