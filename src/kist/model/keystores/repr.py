"""Reprs of key stores: how many keys, and the first and last of them with their values."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.errors import KistError
from kist.format import keys
from kist.format.bundle import PartKind
from kist.format.keystore import unpack_key
from kist.format.values import Pointer, unpack_record
from kist.model import html
from kist.model.keystores.read import Found, assemble, load_part, open_bundle, unpack
from kist.model.text import cell, format_bytes, guarded, newer, ratio, said

if TYPE_CHECKING:
    from kist.engine import View
    from kist.model.keystores.keystore import KeyStore

__all__ = ["keystore_html", "keystore_repr"]

_SHOWN: Final = 5
_WIDE: Final = 60
_LARGEST_SHOWN: Final = 256 << 10
"""Bytes of a value, arrays not counted, that a repr reads; of larger ones it says the size."""
_KEY: Final = len(keys.items(0)[0])

Line = tuple[str, str]


class _Unread:
    """Stands for an array or value that is not read."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    @classmethod
    def array(cls, shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Unread:
        return cls(f"array of {' x '.join(f'{n:,}' for n in shape) or 'one'} {dtype}")


def _value(view: View, value: Found) -> str:
    pointers = (value,) if isinstance(value, Pointer) else unpack_record(value)[0]
    try:
        return _glance(_opened(view, pointers[0]) if pointers else unpack(view, value))
    except KistError as error:
        return cell(f"({type(error).__name__})", _WIDE)


def _opened(view: View, pointer: Pointer) -> Any:
    """Return a value without its arrays, at most `_LARGEST_SHOWN` bytes of it."""
    bundle = open_bundle(view, pointer)
    size = pointer.head + sum(p.size for p in bundle.parts if p.kind != PartKind.ARRAY)
    if size > _LARGEST_SHOWN:
        return _Unread(f"({format_bytes(size)}, not shown)")

    def part(number: int) -> Any:
        found = bundle.parts[number]
        if found.kind == PartKind.ARRAY:
            return _Unread.array(found.shape, found.dtype)
        return load_part(view, pointer, found)

    return assemble(bundle, part)


def _glance(value: Any) -> str:
    """Return a value in a few words: arrays by what they are, containers by what they hold."""
    if isinstance(value, np.ndarray) and value.size > 6:
        return repr(_Unread.array(value.shape, value.dtype))
    if type(value) in (tuple, list) and any(
        isinstance(item, np.ndarray | _Unread) for item in value
    ):
        inner = ", ".join(_glance(item) for item in value[:4])
        more = ", ..." if len(value) > 4 else ""
        return cell(f"({inner}{more})" if type(value) is tuple else f"[{inner}{more}]", _WIDE)
    if type(value) is dict and any(
        isinstance(item, np.ndarray | _Unread) for item in value.values()
    ):
        pairs = [f"{name!r}: {_glance(item)}" for name, item in islice(value.items(), 4)]
        return cell("{" + ", ".join(pairs) + (", ...}" if len(value) > 4 else "}"), _WIDE)
    return cell(" ".join(said(value).split()), _WIDE)


def _lines(store: KeyStore, view: View, n: int) -> tuple[list[Line], list[Line]]:
    """Return (key, value) of the first and of the last keys."""
    if not store._shows(view):
        return [], []
    first = list(islice(store._scan(view, "items"), min(n, 2 * _SHOWN)))
    last = []
    if n > 2 * _SHOWN:
        last = list(islice(store._scan(view, "items", reverse=True), _SHOWN))[::-1]
        first = first[:_SHOWN]

    def line(packed: bytes, value: Found) -> Line:
        return cell(repr(unpack_key(packed[_KEY:])), 40), _value(view, value)

    return [line(*entry) for entry in first], [line(*entry) for entry in last]


def _notes(store: KeyStore, view: View) -> tuple[int, list[str | None]]:
    counts = store._counts(view)
    n = counts.n_keys
    times = ratio(counts.nbytes, counts.stored)
    size = f"{format_bytes(counts.nbytes)} in {format_bytes(counts.stored)} ({times})"
    said_ = [f"{n:,} key{'' if n == 1 else 's'}", *store._notes(view)]
    return n, [*said_, size if n and counts.nbytes else None, newer(store._store, view)]


def keystore_repr(store: KeyStore) -> str:
    """Return a line about a key store, then its first and last keys and values."""
    head = f"kist.KeyStore {store._path!r}"

    def draw() -> str:
        view = store._view()
        title = store.attrs._title_in(view)
        n, notes = _notes(store, view)
        named = head + (f" ({title})" if title else "")
        first, last = _lines(store, view, n)
        wide = max((len(key) for key, _ in first + last), default=0)
        texts = [f"{key:<{wide}}  {value}" for key, value in first]
        texts += ["...", *(f"{key:<{wide}}  {value}" for key, value in last)] if last else []
        return "\n".join([f"<{', '.join([named, *(note for note in notes if note)])}>", *texts])

    return guarded(head, draw)


def keystore_html(store: KeyStore) -> str:
    """Return the same as HTML."""

    def draw() -> str:
        view = store._view()
        title = store.attrs._title_in(view)
        n, notes = _notes(store, view)
        first, last = _lines(store, view, n)
        lines = [*first, *([("⋮", "")] if last else []), *last]
        table = html.pairs(lines) if n else ""
        head = html.heading("Key store", store._path, title, *notes)
        return html.document(head, table, store.attrs._html_in(view))

    return html.guarded_html(f"Key store {store._path!r}", draw)
