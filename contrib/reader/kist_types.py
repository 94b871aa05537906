"""Dtype descriptions, plain values and the schema of a table."""

from __future__ import annotations

import datetime
import math
import struct
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

MAX_DEPTH = 64
Array = npt.NDArray[Any]


class KistError(ValueError):
    """The file cannot be read."""


class Damage(KistError):
    """Bytes are not what their sum or their structure says."""


class Unknown(KistError):
    """The file needs something that this reader does not know."""


class Cursor:
    """Reads a byte string from front to back and refuses to read beyond its end."""

    def __init__(
        self, data: bytes | memoryview, what: str, part: Callable[[int], Any] | None = None
    ) -> None:
        self.data = bytes(data)
        self.part = part  # what stands elsewhere, by its number
        self.at = 0
        self.what = what

    @property
    def left(self) -> int:
        """Bytes that were not read yet."""
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        """The next *size* bytes."""
        if size < 0 or size > self.left:
            raise Damage(f"{self.what}: too short")
        self.at += size
        return self.data[self.at - size : self.at]

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(self.left)

    def get(self, form: str) -> Any:
        """One little-endian number of the given form of `struct`."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def all(self, form: str) -> tuple[Any, ...]:
        """Several little-endian numbers."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def array(self, form: str | np.dtype[Any], count: int) -> Array:
        """An array of *count* items."""
        dtype = np.dtype(form)
        data = self.take(dtype.itemsize * count)
        if dtype.itemsize == 0:
            return np.zeros(count, dtype)
        return np.frombuffer(data, dtype, count)

    def end(self) -> None:
        """Refuse bytes behind the end."""
        if self.left:
            raise Damage(f"{self.what}: {self.left} bytes too many")

    def varint(self) -> int:
        """An unsigned LEB128 number."""
        value = 0
        for i in range(10):
            byte: int = self.get("B")
            value |= (byte & 127) << (7 * i)
            if byte < 128:
                if value >= 1 << 64:
                    break
                return value
        raise Damage(f"{self.what}: number of 2^64 or more")

    def blob(self) -> bytes:
        """A length and as many bytes."""
        return self.take(self.varint())

    def text(self) -> str:
        """A blob of UTF-8, lone surrogates kept."""
        return decode_text(self.blob(), self.what, surrogates=True)


def decode_text(data: bytes, what: str, surrogates: bool = False) -> str:
    """UTF-8 to text."""
    try:
        return data.decode("utf-8", "surrogatepass" if surrogates else "strict")
    except UnicodeDecodeError as error:
        raise Damage(f"{what}: not UTF-8") from error


UNITS = ("", "Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
SIZES = {
    1: (1,), 2: (1, 2, 4, 8), 3: (1, 2, 4, 8), 4: (2, 4, 8, 16), 5: (4, 8, 16, 32),
    6: (8,), 7: (8,), 14: (12, 16), 15: (24, 32),
}  # fmt: skip
RAGGED = 100
"""The kind of a leaf of cells, which no description has."""
BYTES = ("start", "length", "bytes")
LETTERS = {2: "i", 3: "u", 4: "f", 5: "c", 8: "S", 10: "V"}
BIG = frozenset({2, 3, 4, 5, 6, 7, 9, 14, 15})


@dataclass(frozen=True)
class Leaf:
    """An innermost field: where it stands in a row, its scalar dtype and its shape.

    In a table it also has a life in versions of the schema, and perhaps the values of a row in
    groups that are older.
    """

    path: tuple[str, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    kind: int
    id: int = 0
    since: int = 1
    until: int = 1 << 32
    initial: Any = None
    item: Any = None  # of a leaf of cells: an item of them, as a leaf

    @property
    def values(self) -> int:
        """Values a row."""
        return math.prod(self.shape)

    @property
    def big(self) -> bool:
        """Whether the user's dtype is big-endian."""
        return bool(self.dtype.str[0] == ">")


@dataclass(frozen=True)
class Described:
    """A dtype and its leaves, with paths below the dtype."""

    dtype: np.dtype[Any]
    leaves: tuple[Leaf, ...]

    @property
    def is_object(self) -> bool:
        """Whether records hold it as an object."""
        return self.dtype.kind == "T" or any(leaf.kind == RAGGED for leaf in self.leaves)


def read_dtype(data: bytes) -> Described:
    """The dtype that a description names."""
    cursor = Cursor(data, "dtype")
    version = cursor.get("B")
    if version != 1:
        raise Unknown(f"dtype description of version {version}")
    result = _node(cursor, MAX_DEPTH)
    cursor.end()
    return result


def _scalar(dtype: np.dtype[Any], kind: int) -> Described:
    return Described(dtype, (Leaf((), dtype, (), kind),))


def _long(kind: int, itemsize: int) -> np.dtype[Any]:
    """A float or complex above 8 bytes a part, if the platform has it in this form."""
    x87 = np.finfo(np.longdouble).nmant == 63
    binary128 = np.finfo(np.longdouble).nmant == 112
    dtype = np.dtype(np.clongdouble if kind in (5, 15) else np.longdouble)
    if dtype.itemsize != itemsize or not (x87 if kind >= 14 else binary128):
        raise Unknown(f"floats of kind {kind} and {itemsize} bytes are foreign to this platform")
    return dtype


def _node(cursor: Cursor, depth: int) -> Described:
    if depth == 0:
        raise Damage("dtype: too deep")
    kind, flags = cursor.all("BB")
    if flags & ~(1 if kind in BIG else 3 if kind == 13 else 0):
        raise Unknown(f"flags {flags} of dtype kind {kind}")
    if kind == 11:
        return _string(cursor)
    if kind == 12:
        return _subarray(cursor, depth)
    if kind == 13:
        return _structured(cursor, flags, depth)
    if kind not in SIZES and kind not in (8, 9, 10):
        raise Unknown(f"dtype kind {kind}")
    itemsize = cursor.get("I")
    if itemsize >= 1 << 31 or itemsize not in SIZES.get(kind, (itemsize,)):
        raise Damage(f"dtype of kind {kind} with {itemsize} bytes")
    if kind == 1:
        return _scalar(np.dtype("?"), kind)
    order: Literal["<", ">"] = ">" if flags & 1 else "<"
    if kind in (6, 7):
        unit, multiplier = cursor.all("BI")
        if unit >= len(UNITS):
            raise Unknown(f"unit {unit} of time")
        if not 1 <= multiplier < 1 << 31:
            raise Damage("multiplier of a time unit")
        spec = f"[{multiplier if multiplier > 1 else ''}{UNITS[unit]}]" if unit else ""
        return _scalar(np.dtype(f"{order}{'mM'[kind == 6]}8{spec}"), kind)
    if kind == 9:
        if itemsize % 4:
            raise Damage("dtype U whose size is no multiple of 4")
        return _scalar(np.dtype(f"{order}U{itemsize // 4}"), kind)
    if kind >= 14 or (kind == 4 and itemsize == 16) or (kind == 5 and itemsize == 32):
        return _scalar(_long(kind, itemsize).newbyteorder(order), kind)
    if kind == 5 and itemsize == 4:
        raise Unknown("complex numbers of 2-byte floats")
    return _scalar(np.dtype(f"{order}{LETTERS[kind]}{itemsize}"), kind)


def _string(cursor: Cursor) -> Described:
    missing, coerce = cursor.all("BB")
    if missing > 3:
        raise Unknown(f"missing value {missing} of a StringDType")
    if coerce > 1:
        raise Damage("StringDType: coerce")
    options: dict[str, Any] = {"coerce": bool(coerce)}
    if missing:
        options["na_object"] = (None, float("nan"), None)[missing - 1]
    if missing == 3:
        options["na_object"] = cursor.text()
    return _scalar(np.dtypes.StringDType(**options), 11)


def _subarray(cursor: Cursor, depth: int) -> Described:
    shape = cursor.all(f"{cursor.get('B')}I")
    base = _node(cursor, depth - 1)
    if any(leaf.kind == 11 for leaf in base.leaves):
        raise Damage("dtype: a sub-array of StringDType")
    try:
        dtype = np.dtype((base.dtype, shape))
    except ValueError as error:
        raise Damage("dtype: sub-array") from error
    leaves = tuple(
        Leaf(leaf.path, leaf.dtype, shape + leaf.shape, leaf.kind) for leaf in base.leaves
    )
    return Described(dtype, leaves)


def _structured(cursor: Cursor, flags: int, depth: int) -> Described:
    itemsize, count = cursor.all("IH")
    parts = []
    for _ in range(count):
        offset, titled = cursor.all("IB")
        if titled > 1:
            raise Damage("dtype: has a title")
        name = cursor.text()
        title = cursor.text() if titled else None
        parts.append((name, _node(cursor, depth - 1), offset, title))
    if any(leaf.kind == 11 for _, part, _, _ in parts for leaf in part.leaves):
        raise Damage("dtype: a field of StringDType")
    return assemble(parts, itemsize, bool(flags & 1), bool(flags & 2))


def as_ragged(described: Described, flags: int | None) -> Described:
    """A described column, with a leaf of cells if its dtype is ragged."""
    dtype = described.dtype
    names, fields = dtype.names or (), dtype.fields or {}
    found = (
        len(names) == 3 and names[:2] == ("start", "length") and fields["start"][2:] == ("ragged",)
    )
    if flags is not None and found != bool(flags & 4):
        raise Damage("schema: a ragged column, or a flag without one")
    if flags is not None and flags & 33 and not flags & 4:
        raise Unknown("a nullable column, or one of text, of another sort")
    if not found:
        return described
    inner = dtype[2]
    shape = inner.shape[1:]
    leaves = [leaf for leaf in described.leaves if leaf.path[0] == names[2]]
    kind = leaves[0].kind if len(leaves) == 1 and len(leaves[0].path) == 1 else 10
    is_text, titles = names[2] == "text", fields[names[2]][2:]
    bare = inner.base == "u1" and not shape
    good = (
        inner.shape[:1] == (0,)
        and dtype[0] == dtype[1] == np.dtype("<i8")
        and dtype.itemsize == 16
        and fields["length"][2:] in ((), ("nullable",))
        and (names[2] == "items" or (names == BYTES and bare) or (is_text and bare))
        and titles in (((), ("missing",)) if is_text else ((),))
        and inner.base.itemsize * math.prod(shape)
    )
    if not good:
        raise Unknown("a ragged dtype of another sort")
    if flags is not None and bool(flags & 1) != (fields["length"][2:] == ("nullable",)):
        raise Damage("schema: a nullable ragged column, or a flag without one")
    if flags is not None and bool(flags & 32) != is_text:
        raise Damage("schema: a column of lists of text, or a flag without one")
    item = Leaf((), inner.base, shape, kind)
    if is_text:
        options: dict[str, Any] = {"na_object": None} if titles else {}
        item = Leaf((), np.dtypes.StringDType(**options), (), 11)
    return Described(dtype, (Leaf((), dtype, (), RAGGED, item=item),))


def assemble(
    parts: list[tuple[str, Described, int, str | None]], itemsize: int, aligned: bool, record: bool
) -> Described:
    """A structured dtype of named parts at offsets, and its leaves."""
    if itemsize >= 1 << 31:
        raise Damage("dtype of 2^31 bytes or more")
    spec: dict[str, Any] = {
        "names": [part[0] for part in parts],
        # Strings of any length and cells stand as objects in records of NumPy.
        "formats": ["O" if part[1].is_object else part[1].dtype for part in parts],
        "offsets": [part[2] for part in parts],
        "itemsize": itemsize,
    }
    if any(part[3] is not None for part in parts):
        spec["titles"] = [part[3] for part in parts]
    try:
        try:
            dtype: np.dtype[Any] = np.dtype(spec, align=aligned)  # type: ignore[call-overload]
        except ValueError:  # the alignment of another platform
            dtype = np.dtype(spec)  # type: ignore[call-overload]
        if record:
            dtype = np.dtype((np.record, dtype))
    except (ValueError, TypeError) as error:
        raise Damage(f"dtype: {error}") from error
    leaves = [
        Leaf((name, *leaf.path), leaf.dtype, leaf.shape, leaf.kind, item=leaf.item)
        for name, described, _, _ in parts
        for leaf in described.leaves
    ]
    return Described(dtype, tuple(leaves))


def read_value(data: bytes, part: Callable[[int], Any] | None = None) -> Any:
    """The Python value that *data* packs; *part* gives the parts of a bundle."""
    cursor = Cursor(data, "value", part)
    try:
        value = _value(cursor, MAX_DEPTH)
    except (OverflowError, InvalidOperation, zoneinfo.ZoneInfoNotFoundError) as error:
        raise Damage(f"value: {error}") from error
    cursor.end()
    return value


def _value(cursor: Cursor, depth: int) -> Any:
    if depth == 0:
        raise Damage("value: too deep")
    tag = cursor.get("B")
    if tag <= 2:
        return (None, False, True)[tag]
    if tag in (16, 17, 18, 19):
        items = [_value(cursor, depth - 1) for _ in range(_count(cursor))]
        try:
            return (list, tuple, set, frozenset)[tag - 16](items)
        except TypeError as error:
            raise Damage(f"value: {error}") from error
    if tag == 20:
        pairs = [
            (_value(cursor, depth - 1), _value(cursor, depth - 1)) for _ in range(_count(cursor, 2))
        ]
        try:
            return dict(pairs)
        except TypeError as error:
            raise Damage(f"value: {error}") from error
    if tag in (24, 25, 26):
        return _numpy(cursor, tag)
    if tag in (8, 9, 10, 11):
        try:
            return _time(cursor, tag)
        except ValueError as error:
            raise error if isinstance(error, KistError) else Damage(f"value: {error}") from error
    match tag:
        case 3:
            blob = cursor.blob()
            if not blob:
                raise Damage("value: int without bytes")
            return int.from_bytes(blob, "little", signed=True)
        case 4:
            return cursor.get("d")
        case 5:
            return complex(*cursor.all("dd"))
        case 6:
            return cursor.text()
        case 7:
            return cursor.blob()
        case 12:
            return Decimal(cursor.text())
        case 27:
            return bytearray(cursor.blob())
        case 32 if cursor.part is not None:
            return cursor.part(cursor.varint())
    raise Unknown(f"value of tag {tag}")


def _count(cursor: Cursor, least: int = 1) -> int:
    """A number of items, each of which takes at least *least* bytes."""
    count = cursor.varint()
    if count * least > cursor.left:
        raise Damage("value: more items than bytes")
    return count


def _time(cursor: Cursor, tag: int) -> Any:
    if tag == 11:
        days, seconds, micro = cursor.all("qII")
        return datetime.timedelta(days, seconds, micro)
    day = datetime.date.fromordinal(cursor.get("i")) if tag in (8, 10) else None
    if tag == 8:
        return day
    hour, minute, second, micro, fold = cursor.all("BBBIB")
    zone: datetime.tzinfo | None = None
    which = cursor.get("B")
    if which == 1:
        seconds, micros = cursor.all("qI")
        zone = datetime.timezone(datetime.timedelta(0, seconds, micros))
    elif which == 2:
        zone = zoneinfo.ZoneInfo(cursor.text())
    elif which:
        raise Unknown(f"zone {which} of a time")
    clock = datetime.time(hour, minute, second, micro, zone, fold=fold)
    return clock if day is None else datetime.datetime.combine(day, clock)


def _numpy(cursor: Cursor, tag: int) -> Any:
    shape = tuple(cursor.varint() for _ in range(_count(cursor))) if tag != 24 else ()
    described = read_dtype(cursor.blob())
    count = math.prod(shape)
    if tag == 26:
        if described.leaves[0].kind != 11 or count > cursor.left:
            raise Damage("value: array of StringDType")
        array = np.empty(count, described.dtype)
        has_missing = hasattr(described.dtype, "na_object")
        missing = getattr(described.dtype, "na_object", None)
        for i in range(count):
            present = cursor.get("B")
            if present > 1 or not (present or has_missing):
                raise Damage("value: array of StringDType")
            array[i] = cursor.text() if present else missing
        return array.reshape(shape)
    if described.dtype.hasobject:
        raise Damage("value: NumPy array of a dtype without fixed size")
    if described.dtype.itemsize == 0:  # takes no room, whatever the shape is
        try:
            array = np.ndarray(shape, described.dtype)
        except ValueError as error:
            raise Damage("value: shape of an array") from error
    else:
        array = cursor.array(described.dtype, count).reshape(shape).copy()
    try:
        return array[()] if tag == 24 else array
    except SystemError as error:  # NumPy's, for characters that there are not
        raise Damage(f"value: {error}") from error


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    id: int
    name: str
    title: str | None
    codec: str
    described: Described
    default: Any
    has_default: bool
    expression: str | None = None
    virtual: bool = False
    field: int = 0


def is_categorical(dtype: np.dtype[Any]) -> bool:
    """Whether a column holds codes of categories: the title of its only field says so."""
    if dtype.names != ("code",) or dtype.fields is None:
        return False
    field = dtype.fields["code"]
    words = str(field[2]).split(" ") if len(field) > 2 else []
    return len(words) > 1 and words[0] in ("categorical", "enum")


@dataclass(frozen=True)
class Schema:
    """Columns, leaves and dtype of a table; leaves and dtype without virtual columns."""

    version: int
    columns: tuple[Column, ...]
    dtype: np.dtype[Any]
    leaves: dict[int, Leaf] = field(default_factory=dict)
    gone: dict[int, Leaf] = field(default_factory=dict)
    fields: dict[int, int] = field(default_factory=dict)
    """The leaves of sealed columns, and the field of each."""

    def lived(self, version: int) -> list[Leaf]:
        """The leaves that a version had, in the order in which pieces have them."""
        if not 1 <= version <= self.version:
            raise Damage("row group: version of the schema")
        every = [*self.leaves.values(), *self.gone.values()]
        mine = [leaf for leaf in every if leaf.since <= version < leaf.until]
        return sorted(mine, key=lambda leaf: leaf.id)


def read_schema(data: bytes) -> Schema:
    """The schema that the payload of an S record holds."""
    cursor = Cursor(data, "schema")
    version, flags = cursor.all("BB")
    if version not in (1, 2):
        raise Unknown(f"schema of version {version}")
    if flags & ~7:
        raise Unknown(f"flags {flags} of a schema")
    number, _, _, count = cursor.all("IIIH")
    itemsize, offsets = None, ()
    if flags & 1:
        itemsize = cursor.get("I")
        offsets = cursor.all(f"{count}I")
    columns, lives = [], []
    for _ in range(count):
        ident, first, column_flags, parts = cursor.all("IIIB")
        if column_flags & ~61 or parts & ~(31 if version == 2 else 3):
            raise Unknown(f"flags {column_flags} or parts {parts} of a column")
        name, codec = cursor.text(), cursor.text()
        described = as_ragged(read_dtype(cursor.blob()), column_flags)
        title = cursor.text() if parts & 1 else None
        default = read_value(cursor.blob()) if parts & 2 else None
        since = cursor.get("I") if parts & 4 else 1
        initial = cursor.blob() if parts & 8 else None
        expression = cursor.text() if parts & 16 else None
        virtual = bool(column_flags & 16)
        sealed = cursor.get("I") if column_flags & 8 else 0
        if bool(sealed) != bool(column_flags & 8) or (sealed and (parts & 26 or virtual)):
            raise Damage("schema: a sealed column")
        if since > number or (virtual and expression is None):
            raise Damage("schema: version or expression of a column")
        column = Column(
            ident,
            name,
            title,
            codec,
            described,
            default,
            bool(parts & 2),
            expression,
            virtual,
            sealed,
        )
        columns.append(column)
        lives.append((first, since, initial))
    gone: dict[int, Leaf] = {}
    for _ in range(cursor.get("I") if version == 2 else 0):
        first, since, until = cursor.all("III")
        for i, leaf in enumerate(as_ragged(read_dtype(cursor.blob()), None).leaves, first):
            gone[i] = replace(leaf, id=i, since=since, until=until)
    cursor.end()
    at, places = 0, []
    for column in columns:
        places.append(at)
        if column.virtual and not offsets:
            continue
        # A string of any length, or a cell, is an object in a record: 8 bytes.
        at += 8 if column.described.is_object else column.described.dtype.itemsize
    whole = assemble(
        [
            (column.name, column.described, place, column.title)
            for column, place in zip(columns, offsets or places, strict=True)
            if not column.virtual
        ],
        at if itemsize is None else itemsize,
        bool(flags & 2),
        bool(flags & 4),
    )
    leaves: dict[int, Leaf] = {}
    fields: dict[int, int] = {}
    remaining = iter(whole.leaves)
    for column, (first, since, initial) in zip(columns, lives, strict=True):
        if column.virtual:
            continue
        values = None if initial is None else _initial(column.described, read_value(initial))
        for i in range(len(column.described.leaves)):
            if first + i in leaves or first + i in gone:
                raise Damage("schema: leaf id given twice")
            value = None if values is None else values[i]
            leaf = replace(next(remaining), id=first + i, since=since, initial=value)
            leaves[first + i] = leaf
            if column.field:
                fields[first + i] = column.field
    return Schema(number, tuple(columns), whole.dtype, leaves, gone, fields)


def _initial(described: Described, value: Any) -> list[Array]:
    """One value of a column as the values of each of its leaves."""
    dtype = described.dtype
    if described.leaves and described.leaves[0].kind == RAGGED:
        cell = np.empty(1, object)
        cell[0] = value
        return [cell]
    try:
        whole = np.zeros(dtype.shape, dtype.base)
        whole[...] = value
    except (TypeError, ValueError) as error:
        raise Damage("schema: initial value") from error
    result = []
    for leaf in described.leaves:
        part: Any = whole
        for name in leaf.path:
            part = part[name]
        result.append(np.asarray(part).reshape(leaf.values))
    return result
