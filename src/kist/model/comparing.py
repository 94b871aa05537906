"""What differs between two nodes: names, kinds, dtypes, shapes, attributes and values.

How things are stored (codecs, chunks, row groups) is no difference. Values are compared block by
block; NaN equals NaN, NaT equals NaT, a null equals a null, and -0.0 equals 0.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kist.format.keystore import pack_key
from kist.format.plain import pack_value
from kist.model.summary import is_missing
from kist.model.text import cell

__all__ = ["Difference", "boxes", "compare", "unequal"]

Array = np.ndarray[Any, Any]

_BLOCK_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs.

    Attributes
    ----------
    path : str
        Of the node.
    what : str
        ``"only in A"``, ``"only in B"``, ``"kind"``, ``"dtype"``, ``"shape"``, ``"fill value"``,
        ``"attribute"``, ``"columns"``, ``"rows"``, ``"key"``, ``"values"`` or ``"target"``, of
        links.
    detail : str
        Both sides, or how many values differ and where the first stands.
    """

    path: str
    what: str
    detail: str


def compare(a: Any, b: Any) -> Iterator[Difference]:
    """Yield what differs between two nodes, and below them if they are groups.

    Parameters
    ----------
    a, b : Node
        Of any stores and versions; paths are those in `a`.

    Examples
    --------
    >>> import kist
    >>> with kist.open(":memory:") as store:
    ...     store["x"], store["y"] = [1, 2, 3], [1, 5, 3]
    ...     for found in compare(store["x"], store["y"]):
    ...         print(found.what, found.detail)
    values 1 of 3 differ, the first at [1]: 2 != 5
    """
    return _nodes(a, b, a.name)


def _nodes(a: Any, b: Any, path: str) -> Iterator[Difference]:
    if a.kind != b.kind:
        yield Difference(path, "kind", f"{a.kind} != {b.kind}")
        return
    yield from _attributes(a.attrs, b.attrs, path, "")
    if a.kind == "group":
        yield from _groups(a, b, path)
    elif a.kind == "array":
        yield from _arrays(a, b, path)
    elif a.kind == "table":
        yield from _tables(a, b, path)
    elif a.kind == "link":
        yield from _links(a, b, path)
    else:
        yield from _keystores(a, b, path)


def _groups(a: Any, b: Any, path: str) -> Iterator[Difference]:
    there, here = dict(a.items()), dict(b.items())
    for name in sorted(there | here):
        below = f"{path.rstrip('/')}/{name}"
        if name not in here:
            yield Difference(below, "only in A", there[name].kind)
        elif name not in there:
            yield Difference(below, "only in B", here[name].kind)
        else:
            yield from _nodes(there[name], here[name], below)


def _links(a: Any, b: Any, path: str) -> Iterator[Difference]:
    left, right = a.leads_to, b.leads_to
    if left != right:
        yield Difference(path, "target", f"{left} != {right}")


def _attributes(
    a: Mapping[str, Any], b: Mapping[str, Any], path: str, of: str
) -> Iterator[Difference]:
    for name in sorted({*a, *b}):
        if name not in b or name not in a:
            side = "A" if name not in b else "B"
            yield Difference(path, "attribute", f"{of}{name!r} only in {side}")
        elif _unlike(a[name], b[name]):
            yield Difference(path, "attribute", f"{of}{name!r}: {cell(a[name])} != {cell(b[name])}")


def _unlike(a: Any, b: Any) -> bool:
    # As they are stored: types are told apart, and NaN is what it is.
    return pack_value(a) != pack_value(b)


# Arrays


def _arrays(a: Any, b: Any, path: str) -> Iterator[Difference]:
    if a.dtype != b.dtype:
        yield Difference(path, "dtype", f"{a.dtype} != {b.dtype}")
    elif _unlike(a.fill_value, b.fill_value):
        yield Difference(path, "fill value", f"{a.fill_value!r} != {b.fill_value!r}")
    if a.shape != b.shape:
        yield Difference(path, "shape", f"{a.shape} != {b.shape}")
    elif _comparable(a.dtype, b.dtype):
        total, first, shown = 0, None, ""
        for at, mine, other in _slabs(a, b):
            differs = unequal(mine, other)
            n = int(np.count_nonzero(differs))
            if n and first is None:
                place = np.unravel_index(int(differs.argmax()), differs.shape)
                first = tuple(int(i) + o for i, o in zip(place, at, strict=True))
                shown = f"{cell(mine[place])} != {cell(other[place])}"
            total += n
        if first is not None:
            where = f"the first at {list(first)}: {shown}"
            yield Difference(path, "values", f"{total:,} of {a.size:,} differ, {where}")


def _slabs(a: Any, b: Any) -> Iterator[tuple[tuple[int, ...], Array, Array]]:
    for where in boxes(a):
        at = tuple(part.start for part in where)
        yield at, np.asarray(a[where]), np.asarray(b[where])


def boxes(array: Any) -> Iterator[tuple[slice, ...]]:
    """Yield boxes of bounded size that together are an array, along its chunks, in order."""
    shape: tuple[int, ...] = array.shape
    limit = max(1, _BLOCK_BYTES // max(1, array.dtype.itemsize))
    box = [min(size, n) for size, n in zip(array.chunks, shape, strict=True)]
    # As many chunks along the last axes as fit, one along the first ones.
    for axis in reversed(range(len(shape))):
        rest = math.prod(box[:axis] + box[axis + 1 :])
        box[axis] = max(1, box[axis], min(shape[axis], limit // max(1, rest)))
    for corner in np.ndindex(*(-(-n // size) for n, size in zip(shape, box, strict=True))):
        yield tuple(slice(i * size, (i + 1) * size) for i, size in zip(corner, box, strict=True))


# Tables


def _tables(a: Any, b: Any, path: str) -> Iterator[Difference]:
    if a.columns != b.columns:
        only = [f"{name!r} only in A" for name in a.columns if name not in b.columns]
        only += [f"{name!r} only in B" for name in b.columns if name not in a.columns]
        yield Difference(path, "columns", ", ".join(only) or "in another order")
    shared = [name for name in a.columns if name in b.columns]
    same = []
    for name in shared:
        mine, other = a[name].dtype, b[name].dtype
        if mine != other:
            yield Difference(path, "dtype", f"{name!r}: {mine} != {other}")
        if _comparable(mine, other):
            same.append(name)
        yield from _attributes(a[name].attrs, b[name].attrs, path, f"column {name!r}, ")
    if len(a) != len(b):
        yield Difference(path, "rows", f"{len(a):,} != {len(b):,}")
    if same:
        yield from _rows(a, b, same, path)


def _rows(a: Any, b: Any, names: list[str], path: str) -> Iterator[Difference]:
    """Compare rows by their numbers, as far as both tables go."""
    length = min(len(a), len(b))
    counts = dict.fromkeys(names, 0)
    firsts: dict[str, str] = {}
    total = 0
    mine, other = a[names], b[names]
    step = max(1, min(65_536, _BLOCK_BYTES // max(1, mine.dtype.itemsize)))
    for at in range(0, length, step):
        left, right = mine[at : min(at + step, length)], other[at : min(at + step, length)]
        rows = np.zeros(len(left), bool)
        for name in names:
            differs = _per_row(unequal(left[name], right[name]))
            n = int(np.count_nonzero(differs))
            if n and name not in firsts:
                row = int(differs.argmax())
                shown = f"{cell(left[name][row])} != {cell(right[name][row])}"
                firsts[name] = f"the first in row {at + row}: {shown}"
            counts[name] += n
            rows |= differs
        total += int(np.count_nonzero(rows))
    for name, first in firsts.items():
        yield Difference(path, "values", f"{name!r}: {counts[name]:,} rows differ, {first}")
    if len(firsts) > 1:
        yield Difference(path, "values", f"{total:,} of {length:,} rows differ")


def _per_row(differs: Array) -> Array:
    return (
        np.asarray(differs.any(axis=tuple(range(1, differs.ndim)))) if differs.ndim > 1 else differs
    )


# Key stores


def _keystores(a: Any, b: Any, path: str) -> Iterator[Difference]:
    """Walk both in the order of their keys."""
    end: Any = (None, None)
    left, right = iter(a.items()), iter(b.items())
    mine, other = next(left, end), next(right, end)
    while mine is not end or other is not end:
        before = _place(mine, other, end)
        if before < 0:
            yield Difference(path, "key", f"{mine[0]!r} only in A")
        elif before > 0:
            yield Difference(path, "key", f"{other[0]!r} only in B")
        elif _unlike(mine[1], other[1]):
            values = f"{cell(mine[1])} != {cell(other[1])}"
            yield Difference(path, "key", f"{mine[0]!r}: {values}")
        if before <= 0:
            mine = next(left, end)
        if before >= 0:
            other = next(right, end)


def _place(mine: Any, other: Any, end: Any) -> int:
    if mine is end or other is end:
        return 1 if mine is end else -1
    a, b = pack_key(mine[0]), pack_key(other[0])
    return (a > b) - (a < b)


# Values


def _comparable(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    """Whether values of both can be told apart at all; dtypes that differ may hold the same."""
    if a.names is not None or b.names is not None:
        return bool(a == b) or (
            a.names == b.names and all(_comparable(a[name], b[name]) for name in a.names or ())
        )
    if a.subdtype is not None or b.subdtype is not None:
        return bool(a == b)
    numbers, times = "biufc", "Mm"
    return (
        a.kind == b.kind
        or (a.kind in numbers and b.kind in numbers)
        or (a.kind in "UT" and b.kind in "UT")
        or (a.kind in times and a.kind == b.kind)
    )


def unequal(a: Array, b: Array) -> Array:
    """Return where values differ; missing ones equal each other."""
    if a.dtype.names is not None:
        differs = np.zeros(a.shape, bool)
        for name in a.dtype.names:
            found = unequal(a[name], b[name])
            inner = tuple(range(a.ndim, found.ndim))  # of a sub-array
            differs |= found.any(axis=inner) if inner else found
        return differs
    if a.dtype.kind == "V":
        raw = [
            np.ascontiguousarray(x).view("u1").reshape(*x.shape, x.itemsize)
            if x.itemsize
            else np.zeros((*x.shape, 0), "u1")
            for x in (a, b)
        ]
        return np.asarray((raw[0] != raw[1]).any(axis=-1))
    if a.dtype.kind == "O" and any(isinstance(cell, np.ndarray) for x in (a, b) for cell in x):
        pairs = zip(a.tolist(), b.tolist(), strict=True)
        return np.fromiter((_another(*pair) for pair in pairs), bool, len(a))
    missing = [is_missing(a), is_missing(b)]
    if "T" in (a.dtype.kind, b.dtype.kind):
        # Comparing strings of which some are missing raises.
        texts = np.dtypes.StringDType()
        a, b = (
            values if gone is None else np.where(gone, "", _filled(values, gone))
            for values, gone in zip((a, b), missing, strict=True)
        )
        a, b = a.astype(texts), b.astype(texts)
    differs = np.asarray(a != b)
    none = np.zeros(differs.shape, bool)
    gone_a, gone_b = (none if gone is None else gone for gone in missing)
    return np.asarray((differs & ~(gone_a & gone_b)) | (gone_a ^ gone_b))


def _another(a: Any, b: Any) -> bool:
    """Tell whether two cells of ragged columns differ; NaN equals NaN."""
    if a is None or b is None:
        return a is not b
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return bool(a != b)
    return a.shape != b.shape or bool(unequal(a, b).any())


def _filled(values: Array, gone: Array) -> Array:
    values = values.copy()
    values[gone] = ""
    return values.astype(np.dtypes.StringDType())
