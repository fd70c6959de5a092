"""The constraints of a workload: which cells may take it, whatever they have left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from bbs.models.auction import CellState, Demand

NO_ROOTFS: Final = "found no compatible cell for required rootfs"
NO_DRIVERS: Final = "found no compatible cell with required volume drivers"


def rootfs_accepted(state: CellState, demand: Demand) -> bool:
    """The URL's scheme is a provider of the cell; for a fixed set, its opaque part is in the set."""
    scheme, colon, rest = demand.root_fs.partition(":")
    provider = state.rootfs_providers.get(scheme.lower()) if colon else None
    return provider is not None and provider.accepts(rest.partition("?")[0])


def drivers_accepted(state: CellState, demand: Demand) -> bool:
    """The cell has every requested driver."""
    return set(demand.volume_drivers or ()) <= set(state.volume_drivers or ())


def tags_accepted(state: CellState, demand: Demand) -> bool:
    """The request has all required tags of the cell, and only tags that the cell has."""
    requested, required = set(demand.placement_tags or ()), set(state.placement_tags or ())
    return required <= requested <= required | set(state.optional_placement_tags or ())


def refusals(state: CellState, demand: Demand) -> list[str]:
    """Constraints of the workload that the cell does not meet, as text."""
    found = []
    if not rootfs_accepted(state, demand):
        known = ", ".join(sorted(_rootfs_names(state))) or "none"
        found.append(f"no root filesystem {demand.root_fs} (it has {known})")
    missing = sorted(set(demand.volume_drivers or ()) - set(state.volume_drivers or ()))
    found += [f"no volume driver {name}" for name in missing]
    requested, required = set(demand.placement_tags or ()), set(state.placement_tags or ())
    found += [f"only for work with placement tag {tag}" for tag in sorted(required - requested)]
    offered = required | set(state.optional_placement_tags or ())
    found += [f"no placement tag {tag}" for tag in sorted(requested - offered)]
    return found


def _rootfs_names(state: CellState) -> Iterator[str]:
    for scheme, provider in state.rootfs_providers.items():
        if provider.set is None:
            yield f"{scheme}:*"
        else:
            yield from (f"{scheme}:{name}" for name in provider.set)


def no_tags_text(demand: Demand) -> str:
    """The failure text for a workload whose placement tags match no cell."""
    tags = [f'"{tag}"' for tag in demand.placement_tags or ()]
    if not tags:
        return "found no compatible cell with no placement tags"
    if len(tags) == 1:
        return f"found no compatible cell with placement tag {tags[0]}"
    return f"found no compatible cell with placement tags {', '.join(tags[:-1])} and {tags[-1]}"


Accepts = Callable[[CellState, Demand], bool]
Text = Callable[[Demand], str]

CONSTRAINTS: Final[tuple[tuple[Accepts, Text], ...]] = (
    (rootfs_accepted, lambda _: NO_ROOTFS),
    (drivers_accepted, lambda _: NO_DRIVERS),
    (tags_accepted, no_tags_text),
)
"""Checked in this order; the first constraint that no cell meets gives the failure text."""
