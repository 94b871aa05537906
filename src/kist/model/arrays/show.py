"""What arrays say about themselves: facts for `info`, reprs as text and HTML."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.errors import KistError
from kist.format import keys
from kist.format.values import unpack_record
from kist.model import html
from kist.model.arrays.read import read
from kist.model.arrays.state import ArrayState
from kist.model.indexing import parse
from kist.model.page_build import Chosen
from kist.model.text import (
    brief,
    cell,
    format_bytes,
    guarded,
    newer,
    ratio,
    shorten,
    visible,
)

if TYPE_CHECKING:
    from kist.engine import View
    from kist.model.arrays.array import Array

__all__ = ["array_facts", "array_html", "array_repr", "stored_bytes"]

_EDGE: Final = 3
_CORNER: Final = 10_000
"""Elements of the corners that are read for a repr, at most; of more axes it shows none."""
_CORNER_BYTES: Final = 4 << 20
_COUNTED: Final = 20_000
"""Segments whose bytes are added up for a repr."""


def stored_bytes(state: ArrayState) -> int:
    """Return the bytes that all segments take."""
    if state.schema.sealed:
        from kist.model.arrays.sealed import stored_length

        found = state.view.scan(*keys.segments(state.node))
        return sum(stored_length(value) for _, value in found)
    return sum(segment.nbytes_stored for _, segment in state.all_segments())


def array_facts(state: ArrayState) -> dict[str, Any]:
    """Return facts for `info`."""
    if not state.is_open:
        return _closed_facts(state)
    stored = n_segments = 0
    chunks = set()
    recipes: Counter[bytes] = Counter()
    for index, segment in state.all_segments():
        stored += segment.nbytes_stored
        n_segments += 1
        chunks.add(index)
        if segment.record.data is None:
            recipes[segment.record.recipe] += 1
    nbytes = math.prod(state.shape) * state.dtype.itemsize
    chosen = [Chosen.of(packed, 0.0) for packed, _ in recipes.most_common(3)]
    return {
        "dtype": str(state.dtype),
        "shape": list(state.shape),
        "chunks": list(state.schema.chunks),
        "block_shape": list(state.schema.blocks),
        "n_chunks": math.prod(state.grid),
        "n_chunks_stored": len(chunks),
        "n_segments": n_segments,
        "fill_value": state.schema.fill_value()[()],
        "memory_bytes": nbytes,
        "stored_bytes": stored,
        "ratio": nbytes / max(1, stored),
        "codec": state.schema.codec,
        "encodings": [found.recipe.describe() for found in chosen if found is not None],
        **_sealed_facts(state),
    }


def _closed_facts(state: ArrayState) -> dict[str, Any]:
    """Return what can be said of a sealed array without its secret."""
    nbytes, stored = math.prod(state.shape) * state.dtype.itemsize, stored_bytes(state)
    return {
        "dtype": str(state.dtype),
        "shape": list(state.shape),
        "chunks": list(state.schema.chunks),
        "block_shape": list(state.schema.blocks),
        "n_chunks": math.prod(state.grid),
        "memory_bytes": nbytes,
        "stored_bytes": stored,
        "ratio": nbytes / max(1, stored),
        "codec": state.schema.codec,
        **_sealed_facts(state),
    }


def _sealed_facts(state: ArrayState) -> dict[str, Any]:
    if not state.schema.sealed:
        return {}
    from kist.model.sealing.secrets import labels

    return {"sealed": list(labels(state.view, state.node))}


def _stored(array: Array, view: View) -> tuple[int, bool]:
    """Return the bytes of all segments, counted up to `_COUNTED` of them, and if these are all."""
    total = 0
    for at, (_, value) in enumerate(view.scan(*keys.segments(array._id))):
        if at == _COUNTED:
            return total, False
        pointers, payload = unpack_record(value)
        total += sum(pointer.length for pointer in pointers) if pointers else len(payload)
    return total, True


def _encoding(array: Array, view: View, state: ArrayState) -> str:
    """Return how the last segment is encoded."""
    found = next(view.scan(*keys.segments(array._id), reverse=True), None)
    if found is None:
        return "nothing stored"
    if not state.is_open:
        return "no secret given"
    segment = state.segment_of(*found)[1]
    if segment.record.data is not None:
        return "raw"
    chosen = Chosen.of(segment.record.recipe, 0.0)
    return "chosen by a newer kist" if chosen is None else brief(chosen.recipe.describe())


def _notes(array: Array, view: View, state: ArrayState) -> list[str]:
    nbytes = math.prod(state.shape) * state.dtype.itemsize
    stored, whole = _stored(array, view)
    size = f"{format_bytes(nbytes)} in "
    if whole and not stored:
        size = f"{format_bytes(nbytes)} in memory"
    elif whole:
        size += f"{format_bytes(stored)} ({ratio(nbytes, stored)})"
    else:
        size += f"more than {format_bytes(stored)}"
    notes = [
        _shape(state) + cell(state.dtype, 40),
        f"chunks {' x '.join(f'{n:,}' for n in state.schema.chunks)}" if state.shape else "",
        "sealed" if state.schema.sealed else "",
        _encoding(array, view, state),
        size if nbytes else "",
        newer(array._store, view),
    ]
    return [note for note in notes if note]


def _shape(state: ArrayState) -> str:
    return "".join([" x ".join(f"{n:,}" for n in state.shape), " " if state.shape else ""])


def _values(state: ArrayState) -> str:
    """Return the first and last elements as NumPy prints them, or why they cannot be read."""
    shape = state.shape
    n_values = math.prod(min(n, 2 * _EDGE + 1) for n in shape)
    if not state.is_open:
        return ""
    if not n_values or n_values > _CORNER or n_values * state.dtype.itemsize > _CORNER_BYTES:
        return ""
    few = [list(range(n)) if n <= 2 * _EDGE + 1 else [0, 1, 2, 3, -3, -2, -1] for n in shape]
    selection = parse(np.ix_(*few) if few else (), shape)
    try:
        corner = np.asarray(selection.finish(read(state, selection.where)))
    except KistError as error:
        return cell(f"({type(error).__name__}: {error})", 200)
    # As many elements as NumPy abbreviates: it puts the dots where those between were left out.
    text = np.array2string(
        corner,
        threshold=1 if any(n > 2 * _EDGE + 1 for n in shape) else _CORNER,
        edgeitems=_EDGE,
        max_line_width=80,
    )
    lines = [shorten(visible(line), 80) for line in text.split("\n")]
    return "\n".join([*lines[:8], "...", *lines[-4:]] if len(lines) > 13 else lines)


def array_repr(array: Array) -> str:
    """Return a line about an array, then its first and last elements."""
    head = f"kist.Array {array._path!r}"

    def draw() -> str:
        view = array._view()
        state = array._state(view)
        title = array.attrs._title_in(view)
        named = head + (f" ({title})" if title else "")
        line = f"<{', '.join([named, *_notes(array, view, state)])}>"
        text = _values(state)
        return f"{line}\n{text}" if text else line

    return guarded(head, draw)


def array_html(array: Array) -> str:
    """Return the same as HTML."""

    def draw() -> str:
        view = array._view()
        state = array._state(view)
        title = array.attrs._title_in(view)
        head = html.heading("Array", array._path, title, *_notes(array, view, state))
        text = _values(state)
        body = html.preformatted(text) if text else ""
        return html.document(head, body, array.attrs._html_in(view))

    return html.guarded_html(f"Array {array._path!r}", draw)
