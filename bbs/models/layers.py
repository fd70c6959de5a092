"""Image layers as cached dependencies and downloads, for older clients and the executor."""

from __future__ import annotations

from collections.abc import Sequence

from bbs.models.actions import DownloadAction
from bbs.models.workload import CachedDependency, DigestAlgorithm, ImageLayer, LayerType


def shared_dependencies(layers: Sequence[ImageLayer]) -> tuple[CachedDependency, ...]:
    """The shared layers as cached dependencies."""
    return tuple(
        CachedDependency(
            name=layer.name,
            from_=layer.url,
            to=layer.destination_path,
            cache_key=_cache_key(layer),
            checksum_algorithm=_algorithm(layer),
            checksum_value=layer.digest_value,
        )
        for layer in layers
        if layer.layer_type is LayerType.SHARED
    )


def exclusive_downloads(layers: Sequence[ImageLayer], user: str) -> tuple[DownloadAction, ...]:
    """The exclusive layers as downloads by ``user``, to run before the setup action."""
    return tuple(
        DownloadAction(
            artifact=layer.name,
            from_=layer.url,
            to=layer.destination_path,
            cache_key=_cache_key(layer),
            user=user,
            checksum_algorithm=_algorithm(layer),
            checksum_value=layer.digest_value,
        )
        for layer in layers
        if layer.layer_type is LayerType.EXCLUSIVE
    )


def _algorithm(layer: ImageLayer) -> str:
    known = layer.digest_algorithm is not DigestAlgorithm.DigestAlgorithmInvalid
    return layer.digest_algorithm.name.lower() if known else ""


def _cache_key(layer: ImageLayer) -> str:
    """``algorithm:digest``, or the URL of a layer without a digest."""
    return f"{_algorithm(layer)}:{layer.digest_value}" if layer.digest_value else layer.url
