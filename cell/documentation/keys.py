"""The configuration keys of rep.json and ssh_proxy.json, described from the dataclasses that declare them.

The description of a key is the text below its field. A key that came after the first release ends its text
with ``Since VERSION.``
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from bbs.models.meta import Width
from cell.assembly.configcheck import in_file
from cell.assembly.reload import LIVE
from rep.config import Duration, Loggregator
from rep.config.agentkeys import PlatformKeys, RepKeys
from rep.config.executorkeys import ExecutorKeys
from rep.config.ownkeys import OwnKeys
from rep.config.parse import CHOICES
from rep.config.unused import WITHOUT_EFFECT
from sshd.proxy import config as proxy
from sshd.proxy.config import ProxyConfig

FIRST_RELEASE: Final = "0.1.0"
_SINCE: Final = re.compile(r" Since (\d[\w.]*)\.$")


@dataclass(frozen=True, slots=True)
class Key:
    """One key. kind: of its values. default: as in the file; empty: none. live: in use after a reload."""

    name: str
    kind: str
    default: str
    effect: str
    since: str
    live: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    keys: tuple[Key, ...]


def rep_sections() -> tuple[Section, ...]:
    """All keys of rep.json."""
    return (
        Section("Identity, addresses, control plane, stacks", tuple(_rep_keys(RepKeys))),
        Section("Containers, checks, downloads, credentials", tuple(_rep_keys(ExecutorKeys))),
        Section("Locket and the cell's own log", tuple(_rep_keys(PlatformKeys))),
        Section("Keys that the Go rep does not have", tuple(_rep_keys(OwnKeys))),
        Section("The object `loggregator`", tuple(_rep_keys(Loggregator))),
    )


def proxy_sections() -> tuple[Section, ...]:
    """All keys of ssh_proxy.json."""
    return (Section("Keys", tuple(_keys(ProxyConfig, _proxy_kind, _proxy_default))),)


def _rep_keys(cls: type) -> Iterator[Key]:
    hints = get_type_hints(cls, include_extras=True)
    return _keys(cls, lambda item: _rep_kind(item.name, hints[item.name]), _rep_default)


def _keys(
    cls: type, kind: Callable[[Field[Any]], str], default: Callable[[Field[Any]], str]
) -> Iterator[Key]:
    texts = _texts(cls)
    for item in fields(cls):
        if not item.compare:
            continue
        text = texts.get(item.name, "")
        since = _SINCE.search(text)
        unused = WITHOUT_EFFECT.get(item.name)
        yield Key(
            name=item.name,
            kind=kind(item),
            default=default(item),
            effect=f"**No effect**: {unused}." if unused else _SINCE.sub("", text),
            since=since[1] if since else FIRST_RELEASE,
            live=item.name in LIVE,
        )


def _texts(cls: type) -> dict[str, str]:
    """The text below each field of a class."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found


def _rep_kind(name: str, hint: object) -> str:
    if name in CHOICES:
        return " or ".join(f"`{json.dumps(choice)}`" for choice in CHOICES[name])
    if hint is Duration:
        return "duration"
    if get_origin(hint) is tuple:
        return "list of texts"
    if get_origin(hint) is Annotated:
        width = next(note for note in get_args(hint) if isinstance(note, Width))
        return "number, 0 or more" if width.low == 0 else "number"
    return {str: "text", bool: "true or false"}[hint]  # type: ignore[index] # other types have no form


def _rep_default(item: Field[Any]) -> str:
    return "" if item.default == "" else json.dumps(in_file(item.name, item.default), ensure_ascii=False)


_PROXY_KINDS: Final = {
    "str": "text",
    "bool": "true or false",
    "int": "number, 0 or more",
    "Mapping[str, Any]": "object",
}


def _proxy_kind(item: Field[Any]) -> str:
    if item.name in proxy.DURATIONS:
        return "duration"
    return _PROXY_KINDS[str(item.type)]


def _proxy_default(item: Field[Any]) -> str:
    if item.default in ("", MISSING):
        return ""
    if item.name in proxy.DURATIONS:
        return json.dumps(f"{item.default:g}s")
    return json.dumps(item.default)
