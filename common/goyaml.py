"""YAML reader that keeps the spelling of every scalar.

A command in a file may look like a number, and its spelling is the command. A scalar is therefore a
``Scalar``: text with the type it looks like. Null is None.

libyaml parses the text, because Go's YAML library is a translation of it: both accept tabs in the same places
and use the same error texts. Only libyaml's events are used. Its composer recurses in C and crashes the
process on a deeply nested document.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import yaml
from yaml._yaml import CParser
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

TOO_DEEP: Final = "yaml: document is nested too deeply"
NOT_UTF_8: Final = "yaml: invalid UTF-8"

MAX_VALUES = 1_000_000
"""Limit of a document's values, with aliases expanded: a few lines can expand beyond any memory."""


class YAMLError(Exception):
    """Invalid YAML, or a value of the wrong type; ``str()`` begins with ``yaml: ``."""


class Scalar(str):
    """A scalar as written; ``kind`` is ``str``, ``int``, ``float``, ``bool``, ``timestamp`` or the like."""

    __slots__ = ("kind",)
    kind: str


class _Loader(Composer, SafeConstructor, Resolver):
    """Builds mappings, sequences and scalars; non-standard tags are ignored."""

    def __init__(self, stream: bytes) -> None:
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        parser = CParser(stream)
        self.check_event = parser.check_event
        self.peek_event = parser.peek_event
        self.get_event = parser.get_event
        self.dispose = parser.dispose


def _scalar(loader: SafeConstructor, node: yaml.Node) -> Scalar | None:
    assert isinstance(node, yaml.ScalarNode)
    kind = node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    scalar = Scalar(node.value)
    scalar.kind = kind
    return scalar


def _any(loader: SafeConstructor, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return _scalar(loader, node)


_Loader.yaml_constructors = {}
_Loader.add_multi_constructor("", _any)


def load(text: str) -> Any:
    """The first document, as dicts, lists, ``Scalar`` and None; of duplicate keys the last counts. Raises
    YAMLError.

    ``text`` may contain bytes that are not UTF-8 as surrogates (``surrogateescape``).
    """
    try:
        value = next(_documents(text.encode("utf-8", "surrogateescape")), None)
        if _size(value, {}) > MAX_VALUES:
            raise YAMLError("yaml: document contains excessive aliasing")
        return value
    except yaml.YAMLError as error:
        raise YAMLError(f"yaml: {_place(error)}{_problem(error)}") from error
    except RecursionError as error:
        raise YAMLError(TOO_DEEP) from error
    except UnicodeError as error:
        raise YAMLError(NOT_UTF_8) from error


def _documents(content: bytes) -> Iterator[Any]:
    """The values of a stream. Raises yaml.YAMLError, RecursionError."""
    return yaml.load_all(content, Loader=_Loader)  # type: ignore[arg-type] # the stubs know no other loaders


def _place(error: yaml.YAMLError) -> str:
    """The position of an error as ``line L, column C: ``, both from 1; empty if it has none."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    """The text of an error: reader errors have a ``reason``, all others a ``problem``."""
    return str(getattr(error, "problem", None) or getattr(error, "reason", None) or "unknown problem")


def _size(value: Any, known: dict[int, int]) -> int:
    """The number of values in ``value``; ``known`` caches the results."""
    if not isinstance(value, dict | list):
        return 1
    size = known.get(id(value))
    if size is None:
        items = value.values() if isinstance(value, dict) else value
        size = known[id(value)] = 1 + sum(_size(item, known) for item in items)
    return size


def mapping(value: Any, what: str) -> dict[str, Any]:
    """``value`` as a mapping; empty for null. Raises YAMLError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise YAMLError(f"yaml: unmarshal errors: cannot unmarshal {_shown(value)} into {what}")
    return {_key(key): item for key, item in value.items()}


def sequence(value: Any, what: str) -> list[Any]:
    """``value`` as a sequence; empty for null. Raises YAMLError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise YAMLError(f"yaml: unmarshal errors: cannot unmarshal {_shown(value)} into {what}")
    return value


def text(value: Any, what: str) -> str:
    """``value`` as text; empty for null. Raises YAMLError."""
    if value is None:
        return ""
    if not isinstance(value, Scalar):
        raise YAMLError(f"yaml: unmarshal errors: cannot unmarshal {_shown(value)} into {what}")
    return str(value)


def integer(value: Any, what: str) -> int:
    """``value`` as an integer; 0 for null. Raises YAMLError."""
    if value is None:
        return 0
    plain = plain_value(value)
    if isinstance(plain, int) and not isinstance(plain, bool):
        return plain
    if isinstance(plain, float) and plain.is_integer():
        return int(plain)
    raise YAMLError(f"yaml: unmarshal errors: cannot unmarshal {_shown(value)} into {what}")


def plain_value(value: Any) -> Any:
    """The value in JSON types: numbers and booleans replace their spelling."""
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
