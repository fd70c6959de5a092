"""YAML files written by people and buildpacks, with every scalar's spelling kept.

A type's command may look like a number; what counts is what was written. So a scalar is a ``Scalar``, text
that knows what kind of value it looks like. Null is None.
"""

from __future__ import annotations

from typing import Any

import yaml

MAX_VALUES = 1_000_000
"""Values of a document, aliases written out: a few lines may stand for more than any memory holds."""


class YAMLError(Exception):
    """A text that is no YAML, or a value of the wrong kind; ``str()`` begins with ``yaml: ``."""


class Scalar(str):
    """A scalar as written; ``kind`` is ``str``, ``int``, ``float``, ``bool``, ``timestamp`` or the like."""

    __slots__ = ("kind",)
    kind: str


class _Loader(yaml.SafeLoader):
    """Builds mappings, sequences and scalars; tags beyond the standard ones mean nothing."""


def _scalar(loader: yaml.SafeLoader, node: yaml.Node) -> Scalar | None:
    assert isinstance(node, yaml.ScalarNode)
    kind = node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    scalar = Scalar(node.value)
    scalar.kind = kind
    return scalar


def _any(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return _scalar(loader, node)


_Loader.yaml_constructors = {}
_Loader.add_multi_constructor("", _any)


def load(text: str) -> Any:
    """The first document: dicts, lists, ``Scalar``, None; of duplicate keys the last. Raises YAMLError."""
    try:
        value = next(yaml.load_all(text, Loader=_Loader), None)
        if _size(value, {}) > MAX_VALUES:
            raise YAMLError("yaml: document contains excessive aliasing")
        return value
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error)
        mark = getattr(error, "problem_mark", None)
        raise YAMLError(f"yaml: {f'line {mark.line + 1}: ' if mark else ''}{problem}") from error
    except (RecursionError, ValueError, TypeError) as error:
        raise YAMLError(f"yaml: {error}") from error


def _size(value: Any, known: dict[int, int]) -> int:
    """How many values there are in ``value``; what has been counted once is known."""
    if not isinstance(value, dict | list):
        return 1
    size = known.get(id(value))
    if size is None:
        items = value.values() if isinstance(value, dict) else value
        size = known[id(value)] = 1 + sum(_size(item, known) for item in items)
    return size


def mapping(value: Any, what: str) -> dict[str, Any]:
    """A mapping, empty for null. Raises YAMLError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise YAMLError(f"yaml: unmarshal errors: cannot unmarshal {_shown(value)} into {what}")
    return {_key(key): item for key, item in value.items()}


def sequence(value: Any, what: str) -> list[Any]:
    """A sequence, empty for null. Raises YAMLError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise YAMLError(f"yaml: unmarshal errors: cannot unmarshal {_shown(value)} into {what}")
    return value


def text(value: Any, what: str) -> str:
    """A scalar as text, empty for null. Raises YAMLError."""
    if value is None:
        return ""
    if not isinstance(value, Scalar):
        raise YAMLError(f"yaml: unmarshal errors: cannot unmarshal {_shown(value)} into {what}")
    return str(value)


def integer(value: Any, what: str) -> int:
    """A whole number, 0 for null. Raises YAMLError."""
    if value is None:
        return 0
    plain = plain_value(value)
    if isinstance(plain, int) and not isinstance(plain, bool):
        return plain
    if isinstance(plain, float) and plain.is_integer():
        return int(plain)
    raise YAMLError(f"yaml: unmarshal errors: cannot unmarshal {_shown(value)} into {what}")


def plain_value(value: Any) -> Any:
    """The value as JSON has it: numbers and truth values instead of their spelling."""
    if isinstance(value, dict):
        return {_key(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    if not isinstance(value, Scalar) or value.kind not in ("int", "float", "bool"):
        return value if value is None else str(value)
    node = yaml.ScalarNode(f"tag:yaml.org,2002:{value.kind}", str(value))
    constructor = yaml.SafeLoader("")
    try:
        plain = yaml.SafeLoader.yaml_constructors[node.tag](constructor, node)
    except ValueError:
        return str(value)
    finally:
        constructor.dispose()
    finite = not isinstance(plain, float) or plain - plain == 0
    return plain if finite else str(value)


def _key(key: Any) -> str:
    return "null" if key is None else str(key)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "!!map"
    return "!!seq" if isinstance(value, list) else f"!!{value.kind} `{value}`"
