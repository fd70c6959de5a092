"""Garbage collector settings for a process with many records.

By default Python looks for cycles after every 700 new objects, and sometimes in all objects. A pass over
a thousand containers creates a hundred thousand objects, which reference counts free. Half of its time
was the search for cycles among the records, with a share that grows with their number.
"""

from __future__ import annotations

import gc
from typing import Final

NEW_OBJECTS: Final = 20_000
"""New objects between two collections of the youngest generation: a few megabytes."""


def relax() -> None:
    """Collect less often, and never scan the objects that exist now: modules, classes, tables."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 10, 10)
