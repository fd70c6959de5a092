"""Optional resources of containers: instance identities, volumes and layers on top of the image.

The defaults provide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from executor.containers.layers import Layers, NoLayers
from executor.identity.instances import Identity, NoIdentity
from executor.volumes.api import Volumes
from executor.volumes.manager import VolumeManager


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionalResources:
    """Providers of optional resources: creation acquires them, destruction releases them."""

    identity: Identity = field(default_factory=NoIdentity)
    volumes: Volumes = field(default_factory=lambda: VolumeManager(()))
    layers: Layers = field(default_factory=NoLayers)
