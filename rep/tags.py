"""Container tags: the link from a container to its LRP instance or task.

Tags are a string map that the executor keeps with every container. The rep writes them at reservation
and reads them for every report about the container to the BBS or the auctioneer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey
from executor.model import Container

LIFECYCLE = "lifecycle"
LRP_LIFECYCLE = "lrp"
TASK_LIFECYCLE = "task"
DOMAIN = "domain"
PROCESS_GUID = "process-guid"
PROCESS_INDEX = "process-index"
INSTANCE_GUID = "instance-guid"
PLACEMENT_TAGS = "placement-tags"
VOLUME_DRIVERS = "volume-drivers"
RESULT_FILE = "result-file"

_MAX_INT32 = 2**31 - 1


class InvalidTags(Exception):
    """The tags of a container do not name an LRP instance; the text names the tag and the problem."""


def lrp_tags(
    key: ActualLRPKey,
    instance_guid: str,
    placement_tags: Sequence[str] | None,
    volume_drivers: Sequence[str] | None,
) -> dict[str, str]:
    """Tags of a reservation for an LRP instance."""
    return {
        LIFECYCLE: LRP_LIFECYCLE,
        DOMAIN: key.domain,
        PROCESS_GUID: key.process_guid,
        PROCESS_INDEX: str(key.index),
        INSTANCE_GUID: instance_guid,
        PLACEMENT_TAGS: _encode(placement_tags),
        VOLUME_DRIVERS: _encode(volume_drivers),
    }


def task_tags(
    domain: str, placement_tags: Sequence[str] | None, volume_drivers: Sequence[str] | None
) -> dict[str, str]:
    """Tags of a reservation for a task."""
    return {
        LIFECYCLE: TASK_LIFECYCLE,
        DOMAIN: domain,
        PLACEMENT_TAGS: _encode(placement_tags),
        VOLUME_DRIVERS: _encode(volume_drivers),
    }


def lrp_key(container: Container) -> ActualLRPKey:
    """The key of the container's LRP. Raises InvalidTags."""
    tags = container.tags
    process_guid, domain = tags.get(PROCESS_GUID, ""), tags.get(DOMAIN, "")
    if not process_guid or not domain:
        raise InvalidTags(f"container {container.guid}: empty tag {PROCESS_GUID} or {DOMAIN}")
    text = tags.get(PROCESS_INDEX, "")
    if not (text.isascii() and text.isdecimal()) or int(text) > _MAX_INT32:
        raise InvalidTags(f"container {container.guid}: tag {PROCESS_INDEX} is {text!r}, not an index")
    return ActualLRPKey(process_guid=process_guid, index=int(text), domain=domain)


def instance_key(container: Container, cell_id: str) -> ActualLRPInstanceKey:
    """The instance key of the container. Raises InvalidTags."""
    instance_guid = container.tags.get(INSTANCE_GUID, "")
    if not instance_guid:
        raise InvalidTags(f"container {container.guid}: empty tag {INSTANCE_GUID}")
    return ActualLRPInstanceKey(instance_guid=instance_guid, cell_id=cell_id)


def names(tags: Mapping[str, str], tag: str) -> list[str] | None:
    """The list of names in a tag; None if the tag is null, absent or not a list."""
    try:
        decoded = json.loads(tags.get(tag, "null"))
    except ValueError:
        return None
    return [str(name) for name in decoded] if isinstance(decoded, list) else None


def _encode(values: Sequence[str] | None) -> str:
    return json.dumps(None if values is None else list(values), separators=(",", ":"))
