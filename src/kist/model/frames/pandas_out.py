"""Tables as DataFrames, equal to those that they were made from.

What the note says that does not fit the table any more is left out: columns come, go and change
their names. Nothing in it is trusted beyond that.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kist._kernels.cells import Cells
from kist.errors import DTypeError, KistError
from kist.extras import need
from kist.format.nullable import is_masked_array
from kist.model.frames.exports import Exports, Outgoing, by_codes, read_columns
from kist.model.frames.notes import names_a_file
from kist.model.tables.stored.fields import named_fields

if TYPE_CHECKING:
    from kist.engine import View

__all__ = ["to_pandas"]

Array = np.ndarray[Any, Any]

_INTEGER = re.compile("-?[0-9]+")
_MOST = (1 << 63) - 1

_UNITS = ("s", "ms", "us", "ns")
_COARSE = ("Y", "M", "W", "D", "h", "m")


def to_pandas(source: Exports, view: View, columns: Sequence[str] | None) -> Any:
    """Return a DataFrame, or a Series of one column.

    Parameters
    ----------
    source : table, selection, columns or column
    view : View
        Where it is read.
    columns : list of str, optional
        Which; None for all.
    """
    import pandas

    out = by_codes(source._outgoing(view, columns))
    if not out.fields.is_structured or out.fields.is_nullable:
        return _series(source, out)
    levels: list[str] = []
    if not source._is_part():
        levels = _levels(out)
        shown = out.fields.dtype.names or ()
        wanted = [name for name in levels if name not in shown] + list(shown)
        out = by_codes(out._replace(fields=named_fields(out.state.schema, wanted)))
    columns_read, n_rows = _read(source, out)
    data = {name: _restore(array, name, out) for name, array in columns_read.items()}
    names = [name for name in data if name not in levels]
    frame = pandas.DataFrame(
        # As Series with a dtype: pandas would look into objects, and make strings of them.
        {at: _column(data[name]) for at, name in enumerate(names)},
        index=pandas.RangeIndex(n_rows),
        copy=False,
    )
    frame.columns = _labels(names, out)
    frame.index = _index(data, levels, n_rows, source, out)
    return frame


def _read(source: Exports, out: Outgoing) -> tuple[dict[str, Array], int]:
    """Read all rows: an array for each leaf by its name, a masked one for a nullable column."""
    arrays, n_rows = read_columns(source, out.state, out.fields)
    # As they are shown: a column that stands for itself has no name inside.
    head: tuple[str, ...] = ()
    if out.fields.is_nullable or not out.fields.is_structured:
        first, shown = out.fields.stored[0].path, out.fields.leaves[0].path
        head = first[: len(first) - len(shown)]
    found = {}
    for leaf, array in zip(out.fields.leaves, arrays, strict=True):
        found[".".join((*head, *leaf.path))] = array
    for name, valid in out.state.facts.nullable.items():
        values = f"{name}.value"
        if valid in found and values in found:
            found[values] = np.ma.MaskedArray(found[values], ~found.pop(valid))
            found = {name if key == values else key: array for key, array in found.items()}
    return found, n_rows


def _column(values: Any, **more: Any) -> Any:
    import pandas

    return pandas.Series(values, dtype=values.dtype, copy=False, **more)


def _series(source: Exports, out: Outgoing) -> Any:
    """Return one column as a Series, with the index of the frame."""
    levels = _levels(out)
    data: dict[str, Any] = {}
    if levels:
        fields = named_fields(out.state.schema, levels)
        of_levels = by_codes(out._replace(fields=fields))
        arrays, _ = _read(source, of_levels)
        data = {name: _restore(array, name, of_levels) for name, array in arrays.items()}
    found, n_rows = _read(source, out)
    ((name, array),) = found.items()
    index = _index(data, levels, n_rows, source, out)
    return _column(_restore(array, name, out), index=index, name=_label_of(name, out))


def _part(note: Any, *keys: str) -> dict[Any, Any]:
    """Return a dict within a note, empty when it is not there or something else."""
    for key in keys:
        note = note.get(key) if isinstance(note, Mapping) else None
    return dict(note) if isinstance(note, Mapping) else {}


def _list(note: Mapping[Any, Any], key: str) -> list[Any]:
    found = note.get(key)
    return list(found) if isinstance(found, list | tuple) else []


# Values


def _restore(array: Array, name: str, out: Outgoing) -> Any:
    """Return the values of a column as pandas had them, or as it likes them."""
    try:
        return _restored(array, name, out)
    except (ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError) as error:
        if isinstance(error, KistError):
            raise
        raise DTypeError(
            f"column {name!r} cannot be given to pandas as its note says: {error}; read it as an "
            "array",
            column=name,
        ) from error


def _restored(array: Array, name: str, out: Outgoing) -> Any:
    import pandas

    note = _part(out.pandas, "dtypes", name)
    wanted = note.get("dtype")
    if name in out.categories:
        return _categorical(array, name, note, out)
    if isinstance(array, Cells) and not (isinstance(wanted, str) and wanted.endswith("[pyarrow]")):
        return array.objects()
    if is_masked_array(array):
        return _nullable(array.data, np.ma.getmaskarray(array), wanted, name, out)
    if array.ndim > 1:
        column = np.empty(len(array), object)
        column[:] = list(array)
        return column
    kind = array.dtype.kind
    if isinstance(wanted, str) and wanted.endswith("[pyarrow]"):
        return _as_arrow(array, wanted, name)
    if kind == "T":
        return _strings(array, note)
    if kind == "M" and wanted == "date":
        return array.astype("M8[D]").astype(object)
    if kind in "mM":
        array = _times(array, name)
        if kind == "M" and name in out.zones:
            return _zoned(array, out.zones[name], name)
    if kind == "U":
        return _strings(array, {})
    if kind in "SV":
        return _objects(array.tolist())
    if wanted == "object":
        return array.astype(object)
    if not array.dtype.isnative and wanted != array.dtype.str:
        array = array.astype(array.dtype.newbyteorder("="))
    if isinstance(wanted, str) and wanted[:1] not in ("<", ">"):
        dtype = _dtype(wanted, name)
        # One that pandas has beside NumPy's, for the same values: others cast, and may be large.
        if getattr(dtype, "numpy_dtype", None) == array.dtype:
            return pandas.array(array, dtype=dtype)
    return array


def _categorical(codes: Array, name: str, note: Mapping[Any, Any], out: Outgoing) -> Any:
    """Return codes as a Categorical of pandas."""
    import pandas

    known = out.categories[name]
    known.check(codes)
    values: Any = known.values
    kind = values.dtype.kind
    if kind in "TUS":
        values = _objects(values.tolist())
    elif kind in "mM":
        values = _times(values, name)
    elif not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    of = note.get("categories")
    dtype = of if kind in "TU" and of in ("object", "str", "string") else None
    index = pandas.Index(values, dtype=dtype)
    places = codes.astype(np.int64) - 1
    return pandas.Categorical.from_codes(places, index, ordered=known.sort.ordered)


def _nullable(values: Array, mask: Array, wanted: Any, name: str, out: Outgoing) -> Any:
    """Return values some of which are missing, in the dtype of pandas that says so."""
    import pandas

    kind = values.dtype.kind
    if isinstance(wanted, str) and wanted.endswith("[pyarrow]"):
        pa = need("pyarrow", "arrow", f"column {name!r}")
        array = pa.array(values, mask=mask).cast(_dtype(wanted, name).pyarrow_dtype)
        return pandas.arrays.ArrowExtensionArray(array)
    if kind in "Mm":
        values[mask] = np.array("NaT", values.dtype)
        return _restored(values, name, out)
    if kind in "biuf" and values.dtype.itemsize <= 8 and wanted != "object":
        code = "f4" if values.dtype.str[1:] == "f2" else values.dtype.newbyteorder("=").str[1:]
        values = values.astype(np.dtype(code), copy=False)
        classes = {"b": "BooleanArray", "f": "FloatingArray"}
        made = getattr(pandas.arrays, classes.get(kind, "IntegerArray"))
        return made(values, mask)
    objects = _objects(values.tolist())
    objects[mask] = None
    return _strings(objects, {}) if kind == "U" else objects


def _as_arrow(array: Array, wanted: str, name: str) -> Any:
    """Return values that pandas kept as Arrow."""
    import pandas

    pa = need("pyarrow", "arrow", f"column {name!r}")
    if isinstance(array, Cells):
        from kist.model.frames.arrow_ragged import to_arrow

        cells = to_arrow(array, pa)
        # pandas does not read the names of types of lists.
        if wanted.startswith("list<"):
            item = cells.type.value_type
            if item == pa.large_string() and "large_string" not in wanted:
                item = pa.string()
            cells = cells.cast(pa.list_(item))
        elif wanted == "binary[pyarrow]":
            cells = cells.cast(pa.binary())
        return pandas.arrays.ArrowExtensionArray(cells)
    if wanted == "string[pyarrow]":  # pandas takes that name for its own strings
        dtype = pandas.ArrowDtype(pa.string())
    else:
        dtype = _dtype(wanted, name)
    return pandas.arrays.ArrowExtensionArray(pa.array(array).cast(dtype.pyarrow_dtype))


def _dtype(text: str, name: str) -> Any:
    import pandas

    try:
        if names_a_file(text):
            raise ValueError("it names a file")
        return pandas.api.types.pandas_dtype(text)
    except (TypeError, ValueError) as error:
        raise DTypeError(
            f"column {name!r} was of the pandas dtype {text!r}, which this pandas does not know: "
            f"{error}",
            column=name,
        ) from error


def _objects(values: list[Any]) -> Array:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _strings(array: Array, note: Mapping[Any, Any]) -> Any:
    import pandas

    wanted = note.get("dtype")
    objects = array.astype(object)
    if wanted == "object":
        if note.get("na") == "NA":
            objects[pandas.isna(objects)] = pandas.NA
        return objects
    if wanted == "string":
        na = np.nan if note.get("na") == "nan" else pandas.NA
        try:
            dtype = pandas.StringDtype(note.get("storage"), na_value=na)
        except (ImportError, ValueError, TypeError):
            # Kept by a pandas with other ways to hold strings, or one that had pyarrow.
            dtype = pandas.StringDtype("python")
        return pandas.array(objects, dtype=dtype)
    # pandas 3 has a dtype of its own for strings, and gives it to new columns.
    return pandas.array(objects, dtype="str") if _major() >= 3 else objects


def _major() -> int:
    import pandas

    return int(pandas.__version__.split(".")[0])


def _times(array: Array, name: str) -> Array:
    """Return times in a unit that pandas has."""
    unit, count = np.datetime_data(array.dtype)
    if unit in _UNITS and count == 1:
        return array
    if unit in (*_UNITS, *_COARSE) and not (array.dtype.kind == "m" and unit in ("Y", "M")):
        target = unit if unit in _UNITS else "s"
        exact = array.astype(f"{array.dtype.kind}8[{target}]")
        if bool((exact.astype(array.dtype) == array)[~np.isnat(array)].all()):
            return exact
    raise DTypeError(
        f"column {name!r}: pandas has no unit for values of {array.dtype}; read it as an array",
        column=name,
    )


def _zoned(array: Array, zone: str, name: str) -> Any:
    import pandas

    unit = np.datetime_data(array.dtype)[0]
    if names_a_file(zone):
        raise DTypeError(f"column {name!r}: no time zone {zone!r}", column=name)
    utc = pandas.DatetimeIndex(array).tz_localize("UTC")
    return utc.tz_convert(_dtype(f"datetime64[{unit}, {zone}]", name).tz).array


# Labels


def _label_of(name: str, out: Outgoing) -> Any:
    note = _part(out.pandas, "columns")
    span = note.get("range")
    if span is not None:
        return int(name) if _INTEGER.fullmatch(name) else name
    return _hashable(_part(note, "labels").get(name, name), name)


def _hashable(value: Any, other: Any = None) -> Any:
    """Return what may be a label or a name in pandas, else `other`."""
    try:
        hash(value)
    except TypeError:
        return other
    return value


def _labels(names: list[str], out: Outgoing) -> Any:
    """Return the Index of the columns."""
    import pandas

    note = _part(out.pandas, "columns")
    labels = [_label_of(name, out) for name in names]
    called = [_hashable(name) for name in _list(note, "names")]
    if note.get("range") is not None and all(type(label) is int for label in labels):
        steps = {b - a for a, b in itertools.pairwise(labels)}
        if len(steps) <= 1 and 0 not in steps:
            start = labels[0] if labels else 0
            step = steps.pop() if steps else 1
            return pandas.RangeIndex(
                start, start + step * len(labels), step, name=called[0] if called else None
            )
    if _list(note, "levels") and all(isinstance(label, tuple) for label in labels):
        try:
            multi = pandas.MultiIndex.from_tuples(labels)
        except (TypeError, ValueError):
            return pandas.Index(names)  # no columns, or labels of several lengths
        if len(called) == multi.nlevels:
            multi.names = called
        return multi
    index = pandas.Index(labels, name=called[0] if len(called) == 1 else None, tupleize_cols=False)
    wanted = note.get("dtype")
    if isinstance(wanted, str) and str(index.dtype) != wanted and not names_a_file(wanted):
        try:
            dtype = pandas.api.types.pandas_dtype(wanted)
            if getattr(dtype, "kind", "O") not in "SUV":  # which have any size
                index = index.astype(dtype)
        except (ArithmeticError, NotImplementedError, TypeError, ValueError):
            return index  # columns came that are not of that kind
    return index


def _levels(out: Outgoing) -> list[str]:
    """Return the columns that are the index."""
    names = out.state.schema.dtype.names or ()
    levels = _list(_part(out.pandas, "index"), "levels")
    return levels if levels and all(name in names for name in levels) else []


def _index(
    data: Mapping[str, Any], levels: list[str], n_rows: int, source: Exports, out: Outgoing
) -> Any:
    """Return the Index of the rows."""
    import pandas

    note = _part(out.pandas, "index")
    called = [_hashable(name) for name in _list(note, "names")]
    if not levels:
        name = called[0] if len(called) == 1 else None
        span = _list(note, "range")
        if (
            len(span) != 2
            or not all(type(part) is int for part in span)
            or not span[1]
            or abs(span[0]) + abs(span[1]) * (n_rows + 1) > _MOST
        ):
            span = []
        start, step = span or (0, 1)
        positions = source._positions(out.state) if span else None
        if positions is not None:
            return pandas.Index(start + step * positions, name=name)
        return pandas.RangeIndex(start, start + step * n_rows, step, name=name)
    called = called if len(called) == len(levels) else [None] * len(levels)
    if len(levels) > 1:
        return pandas.MultiIndex.from_arrays([data[name] for name in levels], names=called)
    level = data[levels[0]]
    index = pandas.Index(level, dtype=level.dtype, name=called[0])
    freq = note.get("freq")
    if isinstance(freq, str) and hasattr(index, "freq"):
        try:
            index.freq = freq
        except (ArithmeticError, TypeError, ValueError):
            return index  # rows came or went: no regular steps any more
    return index
