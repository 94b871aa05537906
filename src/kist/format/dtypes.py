"""NumPy dtypes as bytes: a small recursive description, without pickle and without `repr`.

docs/format.md, "Dtypes", gives the field tables. A description is a version byte and one node::

    node        u8 kind, u8 flags, then by kind
    scalar      u32 itemsize                                    bool .. V, x87 floats
    datetime    u32 itemsize (8), u8 unit, u32 multiplier
    string      u8 missing-value kind, u8 coerce                NumPy's StringDType
    sub-array   u8 ndim, u32 x ndim shape, node of the base
    structured  u32 itemsize, u16 n_fields, then per field
                u32 offset, u8 has_title, text name, [text title], node
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import Any, Final

import numpy as np

from kist.errors import DTypeError, UnsupportedVersionError
from kist.format.cursor import Cursor, pack_text

__all__ = ["MAX_DEPTH", "MAX_FIELDS", "is_string_dtype", "pack_dtype", "unpack_dtype"]

VERSION: Final = 1
MAX_DEPTH: Final = 64
"""Deepest nesting of structured and sub-array dtypes."""
MAX_FIELDS: Final = 65_535
"""Most fields of one structured dtype."""
MAX_ITEMSIZE: Final = 2**31 - 1
"""NumPy keeps item sizes and sub-array dimensions in a C int."""
MAX_NDIM: Final = 64

_BOOL, _INT, _UINT, _FLOAT, _COMPLEX, _DATETIME, _TIMEDELTA = range(1, 8)
_BYTES, _UNICODE, _VOID, _STRING, _SUBARRAY, _STRUCTURED = range(8, 14)
_X87_FLOAT, _X87_COMPLEX = 14, 15
# 16 and 17 are kept for double-double (POWER) floats, which no test machine of ours has.

_BIG_ENDIAN: Final = 0x01
_ALIGNED: Final = 0x01
_RECORD: Final = 0x02

_KIND_IDS: Final = {
    "b": _BOOL, "i": _INT, "u": _UINT, "f": _FLOAT, "c": _COMPLEX,
    "M": _DATETIME, "m": _TIMEDELTA, "S": _BYTES, "U": _UNICODE, "V": _VOID,
}  # fmt: skip
_KIND_CHARS: Final = {number: char for char, number in _KIND_IDS.items()}
_ITEMSIZES: Final = {
    _BOOL: (1,), _INT: (1, 2, 4, 8), _UINT: (1, 2, 4, 8), _FLOAT: (2, 4, 8, 16),
    _COMPLEX: (8, 16, 32), _DATETIME: (8,), _TIMEDELTA: (8,),
    _X87_FLOAT: (12, 16), _X87_COMPLEX: (24, 32),
}  # fmt: skip

_LONG_DOUBLES: Final = {
    (_FLOAT, 16), (_COMPLEX, 32), (_X87_FLOAT, 12), (_X87_FLOAT, 16), (_X87_COMPLEX, 24),
    (_X87_COMPLEX, 32),
}  # fmt: skip

UNITS: Final = ("generic", "Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
"""Units of datetime64 and timedelta64; the index is the stored number."""

_NO_MISSING, _MISSING_NONE, _MISSING_NAN, _MISSING_TEXT = range(4)
# 4 is kept for pandas.NA.

_SHORT: Final = 32
"""Bytes of the longest description that is worth keeping at hand."""

_HEAD = struct.Struct("<BB")
_SCALAR = struct.Struct("<BBI")
_TIME = struct.Struct("<BBIBI")
_STRUCT = struct.Struct("<BBIH")
_FIELD = struct.Struct("<IB")

_LONG_DOUBLE_IS_X87: Final = np.finfo(np.longdouble).nmant == 63


def is_string_dtype(dtype: np.dtype[Any]) -> bool:
    """Return whether the dtype is NumPy's variable-width `StringDType`."""
    return dtype.char == "T"


def pack_dtype(dtype: np.dtype[Any]) -> bytes:
    """Return the description of a dtype.

    Parameters
    ----------
    dtype : dtype
        Any NumPy dtype without Python objects in it. Names, titles, offsets, item size, alignment,
        byte order, units, sub-array shapes and whether its items are `np.record` are kept;
        `dtype.metadata`, which NumPy itself drops and does not compare, is not.

    Returns
    -------
    bytes
        About 6 bytes a scalar and 12 plus its name a field.

    Raises
    ------
    DTypeError
        The dtype holds Python objects, or is one that files cannot describe.
    """
    dtype = np.dtype(dtype)
    return _pack_number(dtype) if dtype.kind in "biufc" else _pack(dtype)


def _pack(dtype: np.dtype[Any]) -> bytes:
    parts = [bytes((VERSION,))]
    _pack_node(dtype, parts, 0, "")
    return b"".join(parts)


# Numbers come again and again. Dtypes of other kinds may be equal and not the same.
_pack_number = lru_cache(maxsize=64)(_pack)


def unpack_dtype(data: bytes) -> np.dtype[Any]:
    """Return the dtype that `pack_dtype` described.

    Raises
    ------
    CorruptDataError
        The bytes are not a description. Memory stays within a small multiple of `data`.
    UnsupportedVersionError
        A newer description, or a float format that this machine's NumPy does not have.
    """
    data = bytes(data)
    return _unpack_short(data) if len(data) <= _SHORT else _unpack(data)


def _unpack(data: bytes) -> np.dtype[Any]:
    cursor = Cursor(data, "dtype description")
    version = cursor.u8()
    if version != VERSION:
        raise UnsupportedVersionError(
            f"dtype description version {version}, this kist knows {VERSION}: use a newer kist"
        )
    dtype = _unpack_node(cursor, 0)
    cursor.end()
    return dtype


# Scalars come again and again: a schema has one description per column.
_unpack_short = lru_cache(maxsize=256)(_unpack)


def _where(path: str) -> str:
    return f"field {path!r}" if path else "dtype"


def _pack_node(dtype: np.dtype[Any], parts: list[bytes], depth: int, path: str) -> None:
    if depth > MAX_DEPTH:
        raise DTypeError(f"{_where(path)}: dtypes nest more than {MAX_DEPTH} deep; flatten it")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        parts.append(struct.pack(f"<BBB{len(shape)}I", _SUBARRAY, 0, len(shape), *shape))
        _pack_node(base, parts, depth + 1, path)
    elif dtype.names is not None:
        _pack_structured(dtype, parts, depth, path)
    elif is_string_dtype(dtype):
        _pack_string(dtype, parts, path)
    else:
        _pack_scalar(dtype, parts, path)


def _pack_scalar(dtype: np.dtype[Any], parts: list[bytes], path: str) -> None:
    if dtype.kind == "O":
        raise DTypeError(
            f"{_where(path)} holds Python objects; convert it: text to a fixed 'S' or 'U' dtype or "
            "np.dtypes.StringDType(), numbers to a number dtype",
            column=path or None,
        )
    kind = _KIND_IDS.get(dtype.kind)
    if kind is None:
        raise DTypeError(
            f"{_where(path)}: {dtype!r} cannot be stored; convert it to a NumPy dtype",
            column=path or None,
        )
    flags = _BIG_ENDIAN if _is_big_endian(dtype) else 0
    if kind in (_DATETIME, _TIMEDELTA):
        unit, multiplier = np.datetime_data(dtype)
        parts.append(_TIME.pack(kind, flags, dtype.itemsize, UNITS.index(unit), multiplier))
        return
    if dtype.char in "gG" and dtype.itemsize > np.dtype(dtype.kind + "8").itemsize:
        kind = _long_double_kind(dtype)
    parts.append(_SCALAR.pack(kind, flags, dtype.itemsize))


def _is_big_endian(dtype: np.dtype[Any]) -> bool:
    return dtype.str[0] == ">"


def _long_double_kind(dtype: np.dtype[Any]) -> int:
    if dtype.itemsize == (16 if dtype.kind == "f" else 32) and np.finfo(dtype).nmant == 112:
        return _KIND_IDS[dtype.kind]
    if dtype.itemsize in _ITEMSIZES[_X87_FLOAT] + _ITEMSIZES[_X87_COMPLEX] and _LONG_DOUBLE_IS_X87:
        return _X87_FLOAT if dtype.kind == "f" else _X87_COMPLEX
    if dtype.itemsize in _ITEMSIZES[_KIND_IDS[dtype.kind]]:
        return _KIND_IDS[dtype.kind]
    raise DTypeError(f"{dtype!r} of this machine cannot be stored; convert it to float64")


def _pack_string(dtype: Any, parts: list[bytes], path: str) -> None:
    missing = getattr(dtype, "na_object", dtype)  # the dtype itself stands for "not given"
    extra = b""
    if missing is dtype:
        kind = _NO_MISSING
    elif missing is None:
        kind = _MISSING_NONE
    elif isinstance(missing, float) and math.isnan(missing):
        kind = _MISSING_NAN
    elif type(missing) is str:
        kind, extra = _MISSING_TEXT, pack_text(missing)
    else:
        raise DTypeError(
            f"{_where(path)}: a StringDType whose missing value is {missing!r} cannot be stored; "
            "use na_object=None or na_object=float('nan')",
            column=path or None,
        )
    parts.append(bytes((_STRING, 0, kind, bool(dtype.coerce))) + extra)


def _pack_structured(dtype: np.dtype[Any], parts: list[bytes], depth: int, path: str) -> None:
    names, fields = dtype.names, dtype.fields
    assert names is not None and fields is not None
    if dtype.kind != "V":
        raise DTypeError(f"{_where(path)}: {dtype!r} overlays fields on a number; keep one of them")
    if len(names) > MAX_FIELDS:
        raise DTypeError(f"{_where(path)} has {len(names)} fields, at most {MAX_FIELDS} are stored")
    flags = _ALIGNED * dtype.isalignedstruct | _RECORD * (dtype.type is np.record)
    parts.append(_STRUCT.pack(_STRUCTURED, flags, dtype.itemsize, len(names)))
    for name in names:
        base, offset, *rest = fields[name]
        title = rest[0] if rest else None
        if title is not None and type(title) is not str:
            raise DTypeError(
                f"{_where(f'{path}.{name}' if path else name)}: the title {title!r} is not a str",
                column=name,
            )
        parts.append(_FIELD.pack(offset, title is not None))
        parts.append(pack_text(name))
        if title is not None:
            parts.append(pack_text(title))
        _pack_node(base, parts, depth + 1, f"{path}.{name}" if path else name)


def _unpack_node(cursor: Cursor, depth: int) -> np.dtype[Any]:
    if depth > MAX_DEPTH:
        raise cursor.corrupt(f"nested more than {MAX_DEPTH} deep")
    kind, flags = cursor.unpack(_HEAD)
    if kind == _SUBARRAY:
        return _unpack_subarray(cursor, flags, depth)
    if kind == _STRUCTURED:
        return _unpack_structured(cursor, flags, depth)
    if kind == _STRING:
        return _unpack_string(cursor, flags)
    return _unpack_scalar(cursor, kind, flags)


def _check_flags(cursor: Cursor, flags: int, known: int) -> None:
    if flags & ~known:
        raise UnsupportedVersionError(
            f"{cursor.what}, byte {cursor.pos}: unknown flags {flags & ~known:#04x}; "
            "use a newer kist"
        )


def _unpack_scalar(cursor: Cursor, kind: int, flags: int) -> np.dtype[Any]:
    _check_flags(cursor, flags, _BIG_ENDIAN)
    itemsize = cursor.u32()
    if itemsize > MAX_ITEMSIZE:
        raise cursor.corrupt(f"an item of {itemsize} bytes")
    sizes = _ITEMSIZES.get(kind)
    if sizes is not None and itemsize not in sizes:
        raise cursor.corrupt(f"kind {kind} cannot have items of {itemsize} bytes")
    order = ">" if flags & _BIG_ENDIAN else "<"
    if kind in (_DATETIME, _TIMEDELTA):
        return _unpack_time(cursor, order + _KIND_CHARS[kind])
    if (kind, itemsize) in _LONG_DOUBLES:
        return _unpack_long_double(cursor, kind, itemsize, bool(flags))
    if kind == _UNICODE:
        if itemsize % 4:
            raise cursor.corrupt(f"a 'U' item of {itemsize} bytes, not a multiple of 4")
        return np.dtype(f"{order}U{itemsize // 4}")
    if kind not in _KIND_CHARS:
        raise cursor.corrupt(f"unknown dtype kind {kind}")
    if kind in (_BOOL, _BYTES, _VOID) and flags:
        raise cursor.corrupt(f"kind {kind} has no byte order")
    return np.dtype(f"{order}{_KIND_CHARS[kind]}{itemsize}")


def _unpack_time(cursor: Cursor, code: str) -> np.dtype[Any]:
    unit, multiplier = cursor.u8(), cursor.u32()
    if unit >= len(UNITS) or not 1 <= multiplier <= MAX_ITEMSIZE or (unit == 0 and multiplier != 1):
        raise cursor.corrupt(f"time unit {unit} with multiplier {multiplier}")
    return np.dtype(f"{code}8" if unit == 0 else f"{code}8[{multiplier}{UNITS[unit]}]")


def _unpack_long_double(cursor: Cursor, kind: int, itemsize: int, big: bool) -> np.dtype[Any]:
    char = "g" if kind in (_FLOAT, _X87_FLOAT) else "G"
    dtype = np.dtype(char)
    if dtype.itemsize != itemsize or (kind in (_X87_FLOAT, _X87_COMPLEX)) != _LONG_DOUBLE_IS_X87:
        raise UnsupportedVersionError(
            f"{cursor.what}: long double kind {kind} of {itemsize} bytes does not exist on this "
            f"machine (its own has {dtype.itemsize}); convert the column to f8 where it was written"
        )
    ordered = dtype.newbyteorder(">" if big else "<")
    return dtype if ordered.isnative else ordered  # NumPy would show the order of the machine's own


def _unpack_string(cursor: Cursor, flags: int) -> np.dtype[Any]:
    _check_flags(cursor, flags, 0)
    missing, coerce = cursor.u8(), cursor.u8()
    if coerce > 1:
        raise cursor.corrupt(f"coerce flag {coerce}")
    options: dict[str, Any] = {"coerce": bool(coerce)}
    if missing == _MISSING_NONE:
        options["na_object"] = None
    elif missing == _MISSING_NAN:
        options["na_object"] = np.nan
    elif missing == _MISSING_TEXT:
        options["na_object"] = cursor.text()
    elif missing != _NO_MISSING:
        raise UnsupportedVersionError(
            f"{cursor.what}: missing-value kind {missing} of strings is unknown; use a newer kist"
        )
    return np.dtypes.StringDType(**options)


def _unpack_subarray(cursor: Cursor, flags: int, depth: int) -> np.dtype[Any]:
    _check_flags(cursor, flags, 0)
    ndim = cursor.u8()
    if not 1 <= ndim <= MAX_NDIM:
        raise cursor.corrupt(f"a sub-array of {ndim} dimensions")
    shape = cursor.unpack(struct.Struct(f"<{ndim}I"))
    base = _unpack_node(cursor, depth + 1)
    size = base.itemsize * math.prod(shape)
    if size > MAX_ITEMSIZE or max(shape) > MAX_ITEMSIZE:
        raise cursor.corrupt(f"a sub-array of {size} bytes")
    try:
        return np.dtype((base, shape))
    except (ValueError, TypeError) as error:
        raise cursor.corrupt(f"not a sub-array: {error}") from None


def _unpack_structured(cursor: Cursor, flags: int, depth: int) -> np.dtype[Any]:
    _check_flags(cursor, flags, _ALIGNED | _RECORD)
    itemsize, n_fields = cursor.u32(), cursor.u16()
    names: list[str] = []
    titles: list[str | None] = []
    formats: list[np.dtype[Any]] = []
    offsets: list[int] = []
    for _ in range(n_fields):
        offset, has_title = cursor.unpack(_FIELD)
        if has_title > 1:
            raise cursor.corrupt(f"title flag {has_title}")
        names.append(cursor.text())
        titles.append(cursor.text() if has_title else None)
        base = _unpack_node(cursor, depth + 1)
        if is_string_dtype(base) or offset + base.itemsize > itemsize:
            raise cursor.corrupt(f"field {names[-1]!r} does not fit into {itemsize} bytes")
        formats.append(base)
        offsets.append(offset)
    if itemsize > MAX_ITEMSIZE:
        raise cursor.corrupt(f"a row of {itemsize} bytes")
    return _build_structured(cursor, flags, itemsize, names, titles, formats, offsets)


def _build_structured(
    cursor: Cursor,
    flags: int,
    itemsize: int,
    names: list[str],
    titles: list[str | None],
    formats: list[np.dtype[Any]],
    offsets: list[int],
) -> np.dtype[Any]:
    keys = names + [title for title in titles if title is not None]
    if len(set(keys)) != len(keys):
        raise cursor.corrupt("two fields with one name or title")
    spec: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    if any(title is not None for title in titles):
        spec["titles"] = titles
    try:
        try:
            dtype = np.dtype(spec, align=bool(flags & _ALIGNED))
        except ValueError:
            # Alignment is a property of the machine that made the dtype (f8 stands on 4 bytes on
            # 32-bit x86), so where the layout does not meet ours only the flag is lost.
            dtype = np.dtype(spec)
    except (ValueError, TypeError) as error:
        raise cursor.corrupt(f"not a structured dtype: {error}") from None
    return np.dtype((np.record, dtype)) if flags & _RECORD else dtype
