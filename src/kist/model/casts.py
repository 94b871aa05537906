"""What users give, turned into records of a table: by name, and checked by value.

NumPy would match fields by position, cut strings and wrap integers without a word. Here every
value that would change raises `DTypeError` with its row and column, before anything is stored.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kist.errors import DTypeError, ShapeError
from kist.format.nullable import has_masked
from kist.format.ragged import is_ragged
from kist.model.cast_ragged import as_cells, is_cell
from kist.model.cast_values import Array, DType, cast_values
from kist.model.frames.incoming import frame_columns, is_frame
from kist.model.tables.stored.batch import empty_batch

__all__ = ["cast_values", "iter_blocks", "same_dtype", "to_records"]

BLOCK_ROWS = 65_536

FIRST_ROWS = 64
BLOCK_BYTES = 8 << 20
"""What a block of rows with strings or cells may have, when they come from an iterator."""

_NOTHING_LOOSE: Mapping[str, DType] = {}


def to_records(
    data: Any,
    dtype: DType,
    defaults: Mapping[str, Any] | None = None,
    *,
    what: str = "append",
    first_row: int = 0,
    loose: Mapping[str, DType] = _NOTHING_LOOSE,
) -> Any:
    """Records of a dtype from anything that holds rows.

    Parameters
    ----------
    data : structured array, tuple, numpy.void, dict, list, DataFrame or Arrow table
        A tuple, a void and a dict of scalars are one row; a list is rows; a dict of sequences
        and a frame are columns. Tuples are matched by position, all else by name.
    dtype : structured dtype
        Of the records wanted.
    defaults : mapping, optional
        Values of fields that may be missing.
    what : str
        The operation, for messages.
    first_row : int
        Added to row numbers in messages.
    loose : mapping of str to dtype
        Columns of strings and ragged ones, which stand as objects in `dtype`.

    Returns
    -------
    ndarray, 1-d, of `dtype`, or Batch when there are loose ones
        `data` itself when it is that already.

    Raises
    ------
    DTypeError
        A value would change, a field is missing or extra, or `data` holds no rows.
    ShapeError
        Columns have different lengths, or the array is not one-dimensional.
    """
    same = not loose and isinstance(data, np.ndarray) and same_dtype(data.dtype, dtype)
    if same and data.ndim == 1 and not has_masked(data):
        return data.view(np.ndarray) if type(data) is not np.ndarray else data
    columns, n_rows = _columns(data, dtype, loose, what)
    names = dtype.names or ()
    extra = [name for name in columns if name not in names]
    if extra:
        near = difflib.get_close_matches(str(extra[0]), names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {_listed(names)}"
        raise DTypeError(f"{what}: the table has no field {extra[0]!r}{hint}", column=str(extra[0]))
    # Zeros, not empty: padding of an aligned dtype would carry stray memory into the file.
    out: Any = empty_batch(dtype, loose, n_rows, columns) if loose else np.zeros(n_rows, dtype)
    for name in names:
        field = loose[name] if name in loose else dtype[name]
        if name in columns:
            values = cast_values(columns[name], field, column=name, first_row=first_row, what=what)
            if len(values) != n_rows:
                raise ShapeError(
                    f"{what}: field {name!r} has {len(values)} rows, others have {n_rows}"
                )
            out[name] = values
        elif defaults is not None and name in defaults:
            default = defaults[name]
            if is_ragged(field):
                default = np.broadcast_to(as_cells([default], field, column=name), (n_rows,))
            out[name] = default
        else:
            raise DTypeError(
                f"{what}: field {name!r} is missing and has no fill_value", column=name
            )
    return out


def same_dtype(a: DType, b: DType) -> bool:
    """Whether two dtypes are equal, which NumPy takes 8 us to find out of 50 fields."""
    if a is b:
        return True
    # By identity, which the entry itself keeps alive. A dict of dtypes would compare them anew.
    known = _compared.get((id(a), id(b)))
    if known is None:
        if len(_compared) >= 256:
            _compared.clear()
        known = _compared[id(a), id(b)] = (a, b, a == b)
    return known[2]


_compared: dict[tuple[int, int], tuple[DType, DType, bool]] = {}


def iter_blocks(
    rows: Iterable[Any],
    dtype: DType,
    defaults: Mapping[str, Any] | None = None,
    *,
    n_rows: int = BLOCK_ROWS,
    what: str = "append",
    loose: Mapping[str, DType] = _NOTHING_LOOSE,
) -> Iterator[Any]:
    """Records from an iterator of rows, or of blocks of rows, in bounded memory.

    Yields
    ------
    ndarray, 1-d, of `dtype`, or Batch when there are loose ones
        At most `n_rows` records; blocks that are structured arrays come as they are, and may
        change when the next one is asked for.
    """
    done = 0
    # Rows of long strings or cells are taken fewer at a time, which the first ones tell.
    size = [n_rows if not loose else min(n_rows, FIRST_ROWS)]

    def is_block(item: Any) -> bool:
        if type(item) is dict and not _is_row(item, dtype, loose):
            return True
        return (isinstance(item, np.ndarray) and item.ndim == 1) or is_frame(item)

    for first, group in _grouped(iter(rows), size, is_block):
        data: Any = first if group is None else group
        block = to_records(data, dtype, defaults, what=what, first_row=done, loose=loose)
        done += len(block)
        if loose and len(block):
            size[0] = max(1, min(n_rows, BLOCK_BYTES * len(block) // (1 + block.nbytes)))
        yield block


def _grouped(
    rows: Iterator[Any], n_rows: Sequence[int], is_block: Callable[[Any], bool]
) -> Iterator[tuple[Any, list[Any] | None]]:
    """(block, None) for items that are many rows, (_, rows) for runs of single rows."""
    for item in rows:
        if is_block(item):
            yield item, None
        else:
            # Kept while others are asked for, which may fill the same arrays again.
            yield None, [_own(item), *map(_own, itertools.islice(rows, n_rows[0] - 1))]


_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})


def _own(value: Any) -> Any:
    """Return a row, or a value of it, that nobody else can change."""
    kind = type(value)
    if kind is tuple:
        return value if _PLAIN.issuperset(map(type, value)) else tuple(map(_own, value))
    if kind is list:
        return list(map(_own, value))
    if kind is dict:
        return {name: _own(one) for name, one in value.items()}
    if isinstance(value, np.ndarray | np.void):
        return value.copy()
    return bytes(value) if kind is bytearray else value


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:8]))
    return f"{shown}, ... ({len(names)} in all)" if len(names) > 8 else shown


def _columns(
    data: Any, dtype: DType, loose: Mapping[str, DType], what: str
) -> tuple[dict[str, Any], int]:
    """(values by field name, number of rows)."""
    if isinstance(data, np.void) and data.dtype.names:
        data = np.asarray(data)
    if isinstance(data, np.ndarray):
        return _of_array(data, what)
    if isinstance(data, tuple):
        return _of_rows([data], dtype, what)
    if isinstance(data, dict):
        return _of_dict(data, dtype, loose, what)
    if isinstance(data, list):
        return _of_rows(data, dtype, what)
    if is_frame(data):
        return frame_columns(data, dtype.names or (), what)
    raise DTypeError(
        f"{what}: {type(data).__name__} holds no rows: give a structured array, a tuple or dict"
        " (one row), a list of those, a dict of columns, a DataFrame or an Arrow table"
    )


def _of_array(data: Array, what: str) -> tuple[dict[str, Any], int]:
    if data.dtype.names is None:
        raise DTypeError(
            f"{what}: an array of dtype {data.dtype} has no fields: give a structured array, or"
            " a dict of columns"
        )
    if data.ndim > 1:
        raise ShapeError(f"{what}: rows are one-dimensional, not of shape {data.shape}")
    data = np.atleast_1d(data)
    return {name: data[name] for name in data.dtype.names or ()}, len(data)


def _of_rows(rows: list[Any], dtype: DType, what: str) -> tuple[dict[str, Any], int]:
    names = dtype.names or ()
    if not rows:
        return {name: np.empty(0, dtype[name]) for name in names}, 0
    kinds: set[type] = {type(row) for row in rows}
    if all(issubclass(kind, np.void) for kind in kinds):
        if len({row.dtype for row in rows}) == 1:
            return _of_array(np.array(rows, rows[0].dtype), what)
        rows = [_by_name(row) for row in rows]
        kinds = {dict}
    if kinds == {dict}:
        present = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
        for number, row in enumerate(rows):
            if len(row) != len(present):
                lacking = next(name for name in present if name not in row)
                raise DTypeError(
                    f"{what}: row {number} lacks the field {lacking!r}, which others have",
                    row=number,
                    column=str(lacking),
                )
        return {name: [row[name] for row in rows] for name in present}, len(rows)
    for number, row in enumerate(rows):
        if not isinstance(row, (tuple, np.void)) and not hasattr(row, "as_tuple"):
            raise DTypeError(
                f"{what}: row {number} is {type(row).__name__}; a row is a tuple or a dict",
                row=number,
            )
        if len(row) != len(names):
            raise DTypeError(
                f"{what}: row {number} has {len(row)} values, the table {len(names)} fields",
                row=number,
            )
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), len(rows)


def _by_name(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in row.dtype.names}


def _of_dict(
    data: dict[str, Any], dtype: DType, loose: Mapping[str, DType], what: str
) -> tuple[dict[str, Any], int]:
    if not data:
        raise DTypeError(f"{what}: an empty dict holds no rows")
    single = _single(data, dtype, loose)
    if all(single.values()):
        return {name: [value] for name, value in data.items()}, 1
    if any(single.values()):
        name = next(name for name, one in single.items() if one)
        raise ShapeError(
            f"{what}: {name!r} is a single value, others are columns: a dict holds either one"
            " row or columns"
        )
    lengths = {name: len(value) for name, value in data.items()}
    first = next(iter(lengths.values()))
    for name, length in lengths.items():
        if length != first:
            raise ShapeError(f"{what}: field {name!r} has {length} rows, others have {first}")
    return dict(data), first


def _single(
    data: dict[str, Any], dtype: DType, loose: Mapping[str, DType]
) -> dict[str, bool | None]:
    """Which values of a dict stand for one row."""
    single = {name: _is_single(value, name, dtype, loose) for name, value in data.items()}
    known = [one for one in single.values() if one is not None]
    if len(known) < len(single):  # empty lists of ragged columns go with the others
        return {name: any(known) if one is None else one for name, one in single.items()}
    return single


def _is_row(data: dict[str, Any], dtype: DType, loose: Mapping[str, DType]) -> bool:
    return any(_single(data, dtype, loose).values()) or not data


def _is_single(value: Any, name: str, dtype: DType, loose: Mapping[str, DType]) -> bool | None:
    """Whether a value of a dict stands for one row; None where it may or may not."""
    if name in loose and is_ragged(loose[name]):
        return is_cell(value, loose[name])
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        return True
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return True
    field = dtype[name] if name in (dtype.names or ()) else None
    if field is None:
        return False
    if field.names is not None and isinstance(value, (tuple, np.void, dict)):
        return True
    if field.subdtype is not None:
        return np.ndim(value) <= len(field.shape)
    return False
