"""What stores and nodes say about themselves: `.info`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import SecretError, TamperedDataError
from kist.format.node import NodeKind, kind_label
from kist.model import directory, html
from kist.model.history import utc
from kist.model.text import format_bytes, visible

if TYPE_CHECKING:
    from kist.model.node import Node
    from kist.model.store import Store

__all__ = ["Info", "node_info", "store_info"]


_NAMES_OF_THINGS = frozenset({"commit", "format_version", "id", "pid"})


class Info(Mapping[str, Any]):
    """Facts by name, also as attributes: ``store.info["live"]``, ``store.info.live``.

    Parameters
    ----------
    head : str
        What the facts are about.
    facts : dict
        Plain values, lists and dicts of them. Names ending in ``_bytes`` are sizes.

    Examples
    --------
    >>> info = Info("Table '/t'", {"n_rows": 1000, "stored_bytes": 4096})
    >>> info
    Table '/t'
        n_rows        1,000
        stored_bytes  4,096 (4.0 KiB)
    >>> info.n_rows
    1000
    """

    def __init__(self, head: str, facts: Mapping[str, Any]) -> None:
        self._head = head
        self._facts = dict(facts)

    def __getitem__(self, name: str) -> Any:
        return self._facts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_facts"][name]
        except KeyError:
            raise AttributeError(f"no fact {name!r}") from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._facts})

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON can hold them."""
        return {name: _plain(value) for name, value in self._facts.items()}

    def __repr__(self) -> str:
        width = max((len(name) for name in self._facts), default=0)
        lines = [self._head]
        for name, value in self._facts.items():
            text = _text(name, value).split("\n")
            lines.append(f"    {name:<{width}}  {visible(text[0])}".rstrip())
            lines += [f"    {'':<{width}}  {visible(more)}" for more in text[1:]]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = html.element("div", html.element("span", html.text(self._head), "kw"), "kh")
        return html.document(head, html.facts(_texts(self._facts)))


def _texts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as texts, and mappings that are not empty as mappings of texts."""
    return {
        str(name): _texts(value) if isinstance(value, Mapping) and value else _text(name, value)
        for name, value in facts.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(below) for name, below in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(below) for below in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item()) if value.dtype.kind in "biuf" else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _line(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_text(name, value)}" for name, value in facts.items())


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        if name.endswith("_bytes") and abs(value) >= 1024:
            return f"{value:,} ({format_bytes(value)})"
        # Numbers that name something are not quantities.
        return str(value) if name in _NAMES_OF_THINGS else f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        width = max((len(str(key)) for key in value), default=0)
        indent = "\n" + " " * (width + 2)
        return (
            "\n".join(
                f"{key!s:<{width}}  {_text(str(key), below)}".replace("\n", indent)
                for key, below in value.items()
            )
            or "-"
        )
    if isinstance(value, list | tuple):
        if any(isinstance(below, Mapping) for below in value):
            return "\n".join(_line(below) for below in value)
        return ", ".join(_text(name, below) for below in value) or "-"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def node_info(node: Node) -> Info:
    """Return what every node can say; groups say how much stands below them."""
    view = node._view()
    found = directory.record(view, node._id)
    facts: dict[str, Any] = {"name": node.name, "kind": node.kind, "title": None}
    try:
        facts["title"], n_attributes = node.title, len(node.attrs)
    except TamperedDataError:
        raise
    except SecretError:
        n_attributes = None  # in a sealed group
    if found is not None and found.kind == NodeKind.GROUP:
        facts["n_children"] = len(directory.children(view, node._id))
    if found is not None and found.created_ns:
        facts["created"] = utc(found.created_ns)
    if n_attributes is not None:
        facts["n_attributes"] = n_attributes
    if found is not None and found.kind == NodeKind.GROUP and directory.is_marked(view, node._id):
        facts["sealed"] = list(node.sealed)  # type: ignore[attr-defined]
    facts |= node._facts(view)
    return Info(f"{node.kind.capitalize()} {facts['name']!r}", facts)


def store_info(store: Store) -> Info:
    """Return what is known about the file: its commit, its space, who holds some of it."""
    session = store._session
    view = store._view()
    usage = session.engine.usage()
    kinds: dict[str, int] = {}
    for _, entry in directory.walk(view, store._id, "/"):
        label = kind_label(entry.kind)
        kinds[label] = kinds.get(label, 0) + 1
    facts: dict[str, Any] = {
        "path": store.path,
        "mode": store.mode,
        "uuid": store.uuid,
        "format_version": store.format_version,
        "commit": store.commit_id,
        "newer_commits": session.engine.newer(view.state.shown) if store.mode == "r" else 0,
        "title": store.title,
        "sealed": list(store.sealed),
        "nodes": kinds,
        "n_attributes": len(store.attrs),
        "total_bytes": usage.total,
        "live_bytes": usage.live,
        "free_bytes": usage.free,
        "waiting_bytes": usage.waiting,
        "durability": store.durability,
        "retain": store.retain,
        "tags": dict(store.tags),
        "pins": [
            {
                "commit": pin.commit,
                "pid": pin.pid,
                "age_s": pin.age_s,
                "held_bytes": pin.bytes_held,
            }
            for pin in usage.pins
        ],
    }
    return Info(f"Store {store.path!r}", facts)
