"""The garbage collector of a process that keeps many records.

By default Python looks for cycles after every 700 new objects, and now and then through everything that
lives. A pass over a thousand containers makes a hundred thousand objects, all of them gone by reference
count: half its time went into looking for cycles among the records, and more the more there are.
"""

from __future__ import annotations

import gc
from typing import Final

NEW_OBJECTS: Final = 20_000
"""Between two looks at the youngest: a few megabytes."""


def relax() -> None:
    """Look less often, and never again at what exists now: modules, classes, tables."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 10, 10)
