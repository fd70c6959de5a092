"""The ways in which a rep ends, and which of them a request means. Pure.

===========  =======================  ===================================  ==============================
``on_stop``  a stop signal            a stop signal during an evacuation   a failure of a part of the rep
===========  =======================  ===================================  ==============================
hand-over    hand over                hand over; the next process goes on  hand over
evacuate     evacuate, then destroy   destroy                              hand over
destroy      destroy                  destroy                              destroy
===========  =======================  ===================================  ==============================

An evacuation ends with the destruction of what is left, whatever caused it.
"""

from __future__ import annotations

from enum import Enum


class Ending(Enum):
    """What the end of the rep means for its containers.

    HAND_OVER: they keep running, and the next process of this cell adopts them. EVACUATE: other cells
    replace them before the end. DESTROY: they are destroyed. The values are those of the key ``on_stop``.
    """

    HAND_OVER = "hand-over"
    EVACUATE = "evacuate"
    DESTROY = "destroy"


def of_request(on_stop: Ending, *, evacuating: bool) -> Ending:
    """What a stop signal means."""
    if on_stop is Ending.EVACUATE and evacuating:
        return Ending.DESTROY
    return on_stop


def of_failure(on_stop: Ending) -> Ending:
    """How the rep ends when a part of it fails."""
    return Ending.DESTROY if on_stop is Ending.DESTROY else Ending.HAND_OVER
