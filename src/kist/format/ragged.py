"""Ragged columns: any number of items a row, of any dtype of fixed width; or bytes.

The dtype of a ragged column is that of a place among items: where its items begin, how many they
are, and a field of no items whose dtype says what they are. Its first field has the title
``ragged``, which tells it from any other. Its second has the title ``nullable`` where a cell may
be missing, which is not the same as empty. Its third is called ``text`` where items are text of
any length, and has the title ``missing`` where such an item may be missing: NumPy has no fields of
`StringDType`. docs/design/0012-ragged-columns.md and 0023-ragged-text.md say why.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kist._kernels.cells import holds_missing, holds_text, item_of
from kist.errors import DTypeError

__all__ = ["MAX_CELL", "as_nullable", "check_ragged", "is_bytes", "is_nullable_ragged", "is_ragged",
           "is_ragged_text", "item_text", "ragged"]  # fmt: skip

DType = np.dtype[Any]

TITLE: Final = "ragged"
NULLABLE_TITLE: Final = "nullable"
MISSING_TITLE: Final = "missing"

MAX_CELL: Final = 1 << 28
"""Most bytes of a cell: of what decoding one row may have to allocate."""


def ragged(dtype: Any, shape: int | tuple[int, ...] = ()) -> np.dtype[Any]:
    """Return the dtype of a column that holds an array of any length in each row.

    Parameters
    ----------
    dtype : dtype-like
        Of the items: anything of fixed width, in any byte order, structured too; or
        `StringDType`, for which `str` stands too. Items of ``StringDType(na_object=None)`` may be
        missing. `bytes` makes a column of bytes of any length, which come back as `bytes`.
        `kist.nullable` of the result is the dtype of a column whose cells may be missing.
    shape : int or tuple of int, optional
        Of an item: ``ragged("f4", 3)`` holds arrays of shape (n, 3). Not of text.

    Returns
    -------
    dtype
        Read by itself the column gives a `Ragged`, rows hold arrays.

    Raises
    ------
    DTypeError
        The items have no width, or no fixed one.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     t = store.create_table("t", dtype={"id": "i4", "hits": kist.ragged("f4")})
    ...     t.append([(1, [0.5, 1.5]), (2, []), (3, [2.5])])
    ...     t["hits"][:].to_list(), t["hits"][0]
    3
    ([[0.5, 1.5], [], [2.5]], array([0.5, 1.5], dtype=float32))
    >>> with kist.open(":memory:") as store:
    ...     t = store.create_table("t", dtype={"id": "i4", "tags": kist.ragged(str)})
    ...     t.append([(1, ["new", "to be read"]), (2, [])])
    ...     t["tags"][:]
    2
    Ragged([['new', 'to be read'], []], text)
    """
    if dtype is bytes:
        return _made("bytes", np.dtype("u1"), ())
    if dtype is str or dtype is np.dtypes.StringDType:
        return _of_text(np.dtypes.StringDType(), shape)
    try:
        found: DType = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        item: DType = np.dtype((found, shape)) if shape else found
    except (TypeError, ValueError, SyntaxError) as error:
        raise DTypeError(f"ragged: items of {dtype!r}: {error}") from error
    if is_ragged(found) and not shape:
        return found
    if item.base.kind == "T":  # NumPy makes sub-arrays of it, of which it knows no values
        return _of_text(found.base, item.shape)
    if found.kind == "S" and not found.itemsize:
        return ragged(bytes)
    made = None
    if item.itemsize and not item.hasobject:
        made = _made("items", *_flat(item))
    why = "has no fixed width" if made is None else _why_not(made)
    if made is None or why is not None:
        raise DTypeError(
            f"ragged: {dtype!r} {why}; items are numbers, times, text and bytes of fixed width, and"
            " structured values of these, and text of any length, np.dtypes.StringDType()"
        )
    return made


def _of_text(dtype: Any, shape: int | tuple[int, ...]) -> DType:
    """Return the dtype of a column whose items are text of any length."""
    if shape or isinstance(shape, int):
        raise DTypeError(f"ragged: items of text have no shape, {shape} was given")
    from kist._kernels.strings import is_text_missing

    if is_text_missing(dtype):
        raise DTypeError(
            f"ragged: items of which the missing ones are the text {dtype.na_object!r}: give"
            " np.dtypes.StringDType(na_object=None), or StringDType() where none is missing"
        )
    return _made("text", np.dtype("u1"), (), items_missing=hasattr(dtype, "na_object"))


def _flat(item: DType) -> tuple[DType, tuple[int, ...]]:
    shape: tuple[int, ...] = ()
    while item.subdtype is not None:
        item, inner = item.subdtype
        shape += inner
    return item, shape


def _made(
    name: str,
    base: DType,
    shape: tuple[int, ...],
    nullable: bool = False,
    items_missing: bool = False,
) -> DType:
    length: Any = (NULLABLE_TITLE, "length") if nullable else "length"
    items: Any = (MISSING_TITLE, name) if items_missing else name
    return np.dtype([((TITLE, "start"), "<i8"), (length, "<i8"), (items, base, (0, *shape))])


def as_nullable(dtype: DType) -> DType:
    """Return a ragged dtype as that of a column whose cells may be missing."""
    return _again(dtype, nullable=True)


def _again(dtype: DType, nullable: bool) -> DType:
    """Return what `ragged` makes for the items of a ragged dtype."""
    if holds_text(dtype):
        missing = MISSING_TITLE in (dtype.fields or ())
        return _made("text", np.dtype("u1"), (), nullable, missing)
    return _made((dtype.names or ())[2], *item_of(dtype), nullable)


def is_nullable_ragged(dtype: DType) -> bool:
    """Tell whether a dtype is that of a ragged column whose cells may be missing."""
    return is_ragged(dtype) and holds_missing(dtype)


def is_ragged(dtype: DType) -> bool:
    """Tell whether a dtype is that of a ragged column."""
    names, fields = dtype.names, dtype.fields
    if names is None or fields is None or names[:2] != ("start", "length") or len(names) != 3:
        return False
    start = fields["start"]
    return len(start) > 2 and start[2] == TITLE


def is_bytes(dtype: DType) -> bool:
    """Tell whether a dtype is that of a column of bytes of any length."""
    return is_ragged(dtype) and (dtype.names or ())[2] == "bytes"


def is_ragged_text(dtype: DType) -> bool:
    """Tell whether a dtype is that of a column of lists of text of any length."""
    return is_ragged(dtype) and holds_text(dtype)


def item_text(dtype: DType) -> str:
    """Return what a ragged dtype holds, as listings show it."""
    word = "nullable " if holds_missing(dtype) else ""
    if holds_text(dtype):
        return f"{word}ragged {'nullable ' * (MISSING_TITLE in (dtype.fields or ()))}text"
    if is_bytes(dtype):
        return f"{word}bytes of any length"
    base, shape = item_of(dtype)
    return f"{word}ragged {base}{list(shape) if shape else ''}"


def check_ragged(dtype: DType) -> None:
    """Raise `DTypeError` unless a dtype that `is_ragged` is just what `ragged` makes."""
    inner: DType = dtype[2]
    if inner.subdtype is None or inner.shape[:1] != (0,):
        raise DTypeError(f"a ragged dtype without items: {dtype!r}")
    name = (dtype.names or ())[2]
    good, why = name == "text", None
    if not good:
        base, shape = item_of(dtype)
        good = name == "items" or (name == "bytes" and base == "u1" and not shape)
        why = _why_not(dtype)
    if not good or why is not None or dtype != _again(dtype, holds_missing(dtype)):
        raise DTypeError(f"a ragged dtype that none is: {why or dtype!r}")


def _why_not(dtype: DType) -> str | None:
    """Return what is wrong with the items of a ragged dtype."""
    base, shape = item_of(dtype)
    if base.hasobject or base.kind in "OT":
        return "has no fixed width"
    if _holds_ragged(base):
        return "is ragged itself"
    return None if base.itemsize and all(shape) else "has no width"


def _holds_ragged(dtype: DType) -> bool:
    if dtype.subdtype is not None:
        return _holds_ragged(dtype.base)
    if is_ragged(dtype):
        return True
    return any(_holds_ragged(dtype[name]) for name in dtype.names or ())
