"""Plain values and NumPy arrays as tagged bytes: attributes, defaults, key-store values.

One byte of tag, then the content; lengths are LEB128 numbers; containers hold their items one
behind the other (docs/format.md, "Plain values"). Types come back exactly. Nothing is ever
imported or called by name: reading a value runs no code of the file.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from kist.errors import CorruptDataError, DTypeError
from kist.format.cursor import Cursor, pack_blob, pack_text, pack_varint
from kist.format.dtypes import is_string_dtype, pack_dtype, unpack_dtype

__all__ = ["LARGE_BYTES", "MAX_DEPTH", "pack_value", "unpack_value"]

MAX_DEPTH: Final = 64
"""Deepest nesting of containers."""

LARGE_BYTES: Final = 4096
"""Length of a str, bytes or bytearray from which on a key store may take it out of a value."""

MAX_EQUAL_HASHES: Final = 1000
"""Most keys of a set or dict with one hash; honest ones have a handful."""

MAX_EMPTY: Final = 1 << 20
"""Most values of an array whose dtype has no bytes: a few bytes of a file must not stand for more
than can be looked at."""

# Tags, frozen: an id names one encoding for ever.
_NONE, _FALSE, _TRUE, _INT, _FLOAT, _COMPLEX, _STR, _BYTES = range(8)
_DATE, _TIME, _DATETIME, _TIMEDELTA, _DECIMAL = range(8, 13)
_LIST, _TUPLE, _SET, _FROZENSET, _DICT = range(16, 21)
_SCALAR, _ARRAY, _STRINGS, _BYTEARRAY = range(24, 28)
_PART = 32
_TAG: Final = tuple(bytes((tag,)) for tag in range(33))
_STR_TAG: Final = _TAG[_STR]
_BYTES_TAG: Final = _TAG[_BYTES]
# Kinds of time zone.
_NAIVE, _FIXED, _NAMED = range(3)

_F64 = struct.Struct("<d")
_FLOAT_BYTES: Final = 1 + _F64.size
_C128 = struct.Struct("<dd")
_TIME_OF_DAY = struct.Struct("<BBBIB")  # hour, minute, second, microsecond, fold
_DAY = struct.Struct("<i")  # days since 0001-01-01, which is day 1
_SPAN = struct.Struct("<qII")  # days, seconds, microseconds
_OFFSET = struct.Struct("<qI")  # seconds, microseconds east of UTC

_CONTAINERS: dict[type, int] = {list: _LIST, tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}


Take = Callable[[Any], "int | None"]


class _Sink(list[bytes]):
    """Bytes of a value that is being packed, and who takes large parts out of it."""

    __slots__ = ("take",)

    def __init__(self, take: Take | None = None) -> None:
        self.take = take


def pack_value(value: Any, take: Take | None = None) -> bytes:
    """Bytes of a plain value or an array.

    Parameters
    ----------
    value : object
        None, bool, int of any size, float, complex, str, bytes, bytearray, date, time, datetime
        (naive, with a fixed offset, or with a zone of `zoneinfo`), timedelta, Decimal, list,
        tuple, set, frozenset, dict, NumPy scalar or array of any dtype except object.
    take : callable, optional
        Is offered each array, and each str, bytes and bytearray of `LARGE_BYTES` or more outside
        of sets; returns the number under which it keeps it elsewhere, or None.

    Raises
    ------
    DTypeError
        Anything else; a container that holds itself, or nested deeper than 64 levels.
    """
    kind = type(value)
    if take is None:  # nobody takes a large one: no sink is needed either
        if kind is bytes:
            return _BYTES_TAG + pack_blob(value)
        if kind is str:
            return _STR_TAG + pack_text(value)
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        return scalar(value)
    parts = _Sink(take)
    _pack(value, parts, 0)
    return b"".join(parts)


def pack_scalars(values: Sequence[Any], before: bytes) -> list[bytes]:
    """Bytes of None, bools, ints, floats and complex numbers, each behind the bytes `before`.

    The same as `pack_value` for each; floats at a quarter of the time.
    """
    if set(map(type, values)) != {float}:
        return [before + pack_value(value) for value in values]
    before += _TAG[_FLOAT]
    n, start = len(values), len(before)
    rows = np.empty((n, start + 8), np.uint8)
    rows[:, :start] = np.frombuffer(before, np.uint8)
    rows[:, start:] = np.array(values, "<f8").view(np.uint8).reshape(n, 8)
    return rows.view(f"V{start + 8}").ravel().tolist()


def _pack(value: Any, parts: _Sink, depth: int) -> None:
    kind = type(value)
    if kind in _CONTAINERS or kind is dict:
        if depth >= MAX_DEPTH:
            raise DTypeError(
                f"a value nested deeper than {MAX_DEPTH} levels (does it hold itself?)"
                " cannot be stored"
            )
        _pack_container(value, parts, depth)
        return
    packer = _PACKERS.get(kind)
    if packer is not None:
        packer(value, parts)
    elif isinstance(value, np.ndarray):
        _pack_array(value, parts)
    elif isinstance(value, np.generic):
        parts += [bytes((_SCALAR,)), *_array_parts(np.asarray(value))]
    elif (decimal := sys.modules.get("decimal")) and kind is decimal.Decimal:
        parts.append(bytes((_DECIMAL,)) + pack_text(str(value)))
    else:
        raise DTypeError(
            f"{kind.__module__}.{kind.__qualname__} cannot be stored as it is: convert it to"
            " plain values or NumPy arrays; kist files hold no pickled objects"
        )


def _pack_container(value: Any, parts: _Sink, depth: int) -> None:
    kind = type(value)
    if kind is dict:
        parts += [bytes((_DICT,)), pack_varint(len(value))]
        for key, item in value.items():
            _pack(key, parts, depth + 1)
            _pack(item, parts, depth + 1)
        return
    parts += [bytes((_CONTAINERS[kind],)), pack_varint(len(value))]
    if kind in (set, frozenset):
        # Sorted by their bytes, so that equal sets have equal bytes.
        packed = []
        for item in value:
            own = _Sink()
            _pack(item, own, depth + 1)
            packed.append(b"".join(own))
        parts += sorted(packed)
    else:
        for item in value:
            _pack(item, parts, depth + 1)


def _pack_int(value: int) -> bytes:
    size = (value.bit_length() + 8) // 8
    return _TAG[_INT] + pack_varint(size) + value.to_bytes(size, "little", signed=True)


def _pack_zone(zone: dt.tzinfo | None, value: Any, parts: list[bytes]) -> None:
    if zone is None:
        parts.append(bytes((_NAIVE,)))
    elif isinstance(zone, dt.timezone):
        offset = zone.utcoffset(None)
        seconds = offset.days * 86_400 + offset.seconds
        parts.append(bytes((_FIXED,)) + _OFFSET.pack(seconds, offset.microseconds))
    elif key := _zone_name(zone):
        parts.append(bytes((_NAMED,)) + pack_text(key))
    else:
        raise DTypeError(
            f"the time zone of {value!r} has no name that other programs know: use zoneinfo or"
            " a fixed offset"
        )


def _zone_name(zone: dt.tzinfo) -> str | None:
    # Whoever has such a zone has loaded the module; others need not.
    zoneinfo = sys.modules.get("zoneinfo")
    return zone.key if zoneinfo and isinstance(zone, zoneinfo.ZoneInfo) else None


def _pack_time(value: dt.time, parts: list[bytes]) -> None:
    fields = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    parts.append(bytes((_TIME,)) + _TIME_OF_DAY.pack(*fields))
    _pack_zone(value.tzinfo, value, parts)


def _pack_datetime(value: dt.datetime, parts: list[bytes]) -> None:
    fields = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    day = _DAY.pack(value.toordinal())
    parts.append(bytes((_DATETIME,)) + day + _TIME_OF_DAY.pack(*fields))
    _pack_zone(value.tzinfo, value, parts)


def _array_parts(array: np.ndarray[Any, Any]) -> list[bytes]:
    dtype = pack_dtype(array.dtype)
    # Values of a big-endian dtype stay big-endian, byte for byte.
    return [pack_blob(dtype), np.ascontiguousarray(array).tobytes()]


def _pack_array(array: np.ndarray[Any, Any], parts: _Sink) -> None:
    if type(array) not in (np.ndarray, np.memmap, np.recarray):
        raise DTypeError(
            f"{type(array).__name__} is more than an array: store np.asarray(value), and what it"
            " adds beside it"
        )
    if array.dtype.hasobject and not is_string_dtype(array.dtype):
        raise DTypeError(
            f"an array of dtype {array.dtype} holds Python objects: give it a dtype that NumPy"
            " can store, such as a number, 'U' or StringDType"
        )
    if not array.itemsize and array.size > MAX_EMPTY:
        raise DTypeError(
            f"an array of {array.size} values without bytes (dtype {array.dtype}) holds nothing"
            f" but its shape; at most {MAX_EMPTY} are stored"
        )
    if _taken(array, parts):
        return
    shape = b"".join([pack_varint(array.ndim), *map(pack_varint, array.shape)])
    if is_string_dtype(array.dtype):
        parts += [bytes((_STRINGS,)), shape, pack_blob(pack_dtype(array.dtype))]
        missing = getattr(array.dtype, "na_object", None)
        for item in array.ravel().tolist():
            own = item is missing or not isinstance(item, str)
            parts.append(b"\0" if own else b"\1" + pack_text(item))
        return
    parts += [bytes((_ARRAY,)), shape, *_array_parts(array)]


def _taken(value: Any, parts: _Sink) -> bool:
    number = None if parts.take is None else parts.take(value)
    if number is None:
        return False
    parts += [bytes((_PART,)), pack_varint(number)]
    return True


def _pack_str(value: str, parts: _Sink) -> None:
    if len(value) < LARGE_BYTES or not _taken(value, parts):
        parts.append(_TAG[_STR] + pack_text(value))


def _pack_bytes(value: bytes | bytearray, parts: _Sink) -> None:
    if len(value) < LARGE_BYTES or not _taken(value, parts):
        tag = _BYTES if type(value) is bytes else _BYTEARRAY
        parts += [bytes((tag,)), pack_blob(bytes(value))]


def _appending(pack: Callable[[Any], bytes]) -> Callable[[Any, _Sink], None]:
    return lambda value, parts: parts.append(pack(value))


# Without a sink: what a million small values are made of.
_SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda v: _TAG[_NONE],
    bool: lambda v: _TAG[_TRUE if v else _FALSE],
    int: _pack_int,
    float: lambda v: _TAG[_FLOAT] + _F64.pack(v),
}
_PACKERS: dict[type, Callable[[Any, _Sink], None]] = {
    **{kind: _appending(scalar) for kind, scalar in _SCALARS.items()},
    complex: lambda v, p: p.append(bytes((_COMPLEX,)) + _C128.pack(v.real, v.imag)),
    str: _pack_str,
    bytes: _pack_bytes,
    bytearray: _pack_bytes,
    dt.date: lambda v, p: p.append(bytes((_DATE,)) + _DAY.pack(v.toordinal())),
    dt.time: _pack_time,
    dt.datetime: _pack_datetime,
    dt.timedelta: lambda v, p: p.append(
        bytes((_TIMEDELTA,)) + _SPAN.pack(v.days, v.seconds, v.microseconds)
    ),
}


class _PartCursor(Cursor):
    """A cursor over a value whose large parts stand elsewhere."""

    __slots__ = ("part",)

    def __init__(self, data: bytes, part: Callable[[int], Any]) -> None:
        self.data = data
        self.pos = 0
        self.what = "plain value"
        self.part = part


def unpack_value(data: bytes, part: Callable[[int], Any] | None = None) -> Any:
    """Value from its bytes.

    Parameters
    ----------
    data : bytes
        From `pack_value`.
    part : callable, optional
        Gives what was taken out under a number; it refuses other numbers.

    Raises
    ------
    CorruptDataError
        The bytes are no value, or something follows it.
    """
    if len(data) == _FLOAT_BYTES and data[0] == _FLOAT:  # a million of them are got one by one
        return _F64.unpack_from(data, 1)[0]
    cursor = Cursor(data, "plain value") if part is None else _PartCursor(data, part)
    try:
        value = _unpack(cursor, 0)
    except (ValueError, ArithmeticError, TypeError) as error:
        if isinstance(error, CorruptDataError):
            raise
        raise cursor.corrupt(f"{type(error).__name__}: {error}") from error
    if cursor.left:
        raise cursor.corrupt(f"{cursor.left} bytes behind the value")
    return value


def _unpack(cursor: Cursor, depth: int) -> Any:
    tag = cursor.u8()
    if _LIST <= tag <= _DICT:
        if depth >= MAX_DEPTH:
            raise cursor.corrupt(f"nested deeper than {MAX_DEPTH} levels")
        return _unpack_container(cursor, tag, depth)
    reader = _READERS.get(tag)
    if reader is None:
        raise cursor.corrupt(f"tag {tag} is not known")
    return reader(cursor)


def _unpack_container(cursor: Cursor, tag: int, depth: int) -> Any:
    n = cursor.count()
    if tag == _DICT:
        pairs = [(_unpack(cursor, depth + 1), _unpack(cursor, depth + 1)) for _ in range(n)]
        _check_hashes(cursor, [key for key, _ in pairs])
        return dict(pairs)
    items = [_unpack(cursor, depth + 1) for _ in range(n)]
    if tag == _LIST:
        return items
    if tag == _TUPLE:
        return tuple(items)
    _check_hashes(cursor, items)
    return set(items) if tag == _SET else frozenset(items)


def _check_hashes(cursor: Cursor, items: list[Any]) -> None:
    """Refuse keys made to collide: a megabyte of them would keep a dict busy for minutes."""
    if len(items) > MAX_EQUAL_HASHES:
        # The hash of a hash is itself, so that equal ones only count.
        most = Counter(map(hash, items)).most_common(1)[0][1]
        if most > MAX_EQUAL_HASHES:
            raise cursor.corrupt(f"{most} keys with one hash")


def _read_float(cursor: Cursor) -> float:
    return float(_F64.unpack(cursor.take(8))[0])


def _read_complex(cursor: Cursor) -> complex:
    return complex(*_C128.unpack(cursor.take(16)))


def _read_date(cursor: Cursor) -> dt.date:
    return dt.date.fromordinal(cursor.unpack(_DAY)[0])


def _read_zone(cursor: Cursor) -> dt.tzinfo | None:
    kind = cursor.u8()
    if kind == _NAIVE:
        return None
    if kind == _FIXED:
        seconds, microseconds = cursor.unpack(_OFFSET)
        return dt.timezone(dt.timedelta(seconds=seconds, microseconds=microseconds))
    if kind != _NAMED:
        raise cursor.corrupt(f"time zone of kind {kind}")
    name = cursor.text()
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError) as error:
        raise cursor.corrupt(f"no time zone {name!r} on this system; install tzdata") from error


def _read_clock(cursor: Cursor) -> tuple[int, int, int, int, int]:
    hour, minute, second, microsecond, fold = cursor.unpack(_TIME_OF_DAY)
    return hour, minute, second, microsecond, fold


def _read_time(cursor: Cursor) -> dt.time:
    hour, minute, second, microsecond, fold = _read_clock(cursor)
    return dt.time(hour, minute, second, microsecond, _read_zone(cursor), fold=fold)


def _read_datetime(cursor: Cursor) -> dt.datetime:
    day = _read_date(cursor)
    hour, minute, second, microsecond, fold = _read_clock(cursor)
    time = dt.time(hour, minute, second, microsecond, _read_zone(cursor), fold=fold)
    return dt.datetime.combine(day, time)


def _read_span(cursor: Cursor) -> dt.timedelta:
    days, seconds, microseconds = cursor.unpack(_SPAN)
    return dt.timedelta(days, seconds, microseconds)


def _read_decimal(cursor: Cursor) -> Any:
    from decimal import Decimal

    return Decimal(cursor.text())


def _read_scalar(cursor: Cursor) -> Any:
    dtype = unpack_dtype(cursor.blob())
    if is_string_dtype(dtype):
        raise cursor.corrupt("a scalar of StringDType")
    item = _items(cursor, (), dtype)
    try:
        return item[()]
    except SystemError as error:  # what NumPy makes of a code point beyond Unicode
        raise cursor.corrupt(f"not a character: {error}") from error


def _items(cursor: Cursor, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return the next items as an array with its own memory."""
    raw = bytearray(cursor.take(math.prod(shape) * dtype.itemsize))
    if not dtype.itemsize and math.prod(shape) > MAX_EMPTY:
        raise cursor.corrupt(f"{math.prod(shape)} values of no bytes")
    # Not np.zeros or np.empty, which make 'S1' of 'S0' and allocate whatever the shape says.
    return np.ndarray(shape, dtype, buffer=raw)


def _read_shape(cursor: Cursor) -> tuple[int, ...]:
    ndim = cursor.count()
    if ndim > 64:
        raise cursor.corrupt(f"an array of {ndim} dimensions")
    return tuple(cursor.varint() for _ in range(ndim))


def _read_array(cursor: Cursor) -> np.ndarray[Any, Any]:
    shape = _read_shape(cursor)
    dtype = unpack_dtype(cursor.blob())
    if is_string_dtype(dtype):
        raise cursor.corrupt("an array of StringDType without its strings")
    return _items(cursor, shape, dtype)


def _read_strings(cursor: Cursor) -> np.ndarray[Any, Any]:
    shape = _read_shape(cursor)
    dtype = unpack_dtype(cursor.blob())
    size = math.prod(shape)
    if not is_string_dtype(dtype) or size > cursor.left:
        raise cursor.corrupt(f"{size} strings of dtype {dtype} do not fit")
    missing = getattr(dtype, "na_object", None)
    items = [cursor.text() if cursor.u8() else missing for _ in range(size)]
    out = np.empty(size, dtype)
    out[:] = items
    return out.reshape(shape)


def _read_part(cursor: Cursor) -> Any:
    if not isinstance(cursor, _PartCursor):
        raise cursor.corrupt("a part that stands elsewhere, outside of a key store")
    return cursor.part(cursor.varint())


_READERS: dict[int, Callable[[Cursor], Any]] = {
    _NONE: lambda c: None,
    _FALSE: lambda c: False,
    _TRUE: lambda c: True,
    _INT: lambda c: int.from_bytes(c.blob(), "little", signed=True),
    _FLOAT: _read_float,
    _COMPLEX: _read_complex,
    _STR: lambda c: c.text(),
    _BYTES: lambda c: c.blob(),
    _BYTEARRAY: lambda c: bytearray(c.blob()),
    _DATE: _read_date,
    _TIME: _read_time,
    _DATETIME: _read_datetime,
    _TIMEDELTA: _read_span,
    _DECIMAL: _read_decimal,
    _SCALAR: _read_scalar,
    _ARRAY: _read_array,
    _STRINGS: _read_strings,
    _PART: _read_part,
}
