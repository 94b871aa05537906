"""Reading values of key stores: whole, or opened without loading their arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist import options
from kist._kernels.scratch import scratch
from kist.engine.ahead import bring_bodies
from kist.engine.pages import read_body, read_page
from kist.engine.parallel import run
from kist.errors import CorruptDataError, TooLargeError
from kist.format.bundle import Bundle, Part, PartKind, unpack_bundle_head
from kist.format.keystore import FORM_PLAIN
from kist.format.layout import ALIGNMENT
from kist.format.page import MAX_HEAD
from kist.format.plain import unpack_value
from kist.format.values import Pointer, stored_pointer, unpack_record

if TYPE_CHECKING:
    from kist.engine import View

__all__ = [
    "Found",
    "assemble",
    "empty",
    "finished",
    "load",
    "load_part",
    "open_bundle",
    "pointer_of",
    "unpack",
    "unpack_many",
]

Array = np.ndarray[Any, Any]
Found = bytes | Pointer
"""The record of an entry; of one that was sealed the pointer to its bundle, or its plain record."""

_BYTES: Final = np.dtype("u1")

_SHORT: Final = 64
"""Bytes of plain values of which it is kept what they consist of."""

READ_WHOLE: Final = 32 << 20
"""Larger bundles are read page by page, so that their stored bytes are not in memory at once."""

THREAD_BYTES: Final = 4 << 20
"""Values of fewer bytes are decoded by the calling thread: waking another, and taking turns with it
in Python, takes longer than decoding a megabyte (1.6 MB: 0.75 ms on two threads, 0.65 on one)."""


def unpack(view: View, value: Found) -> Any:
    """Value of an entry.

    Raises
    ------
    CorruptDataError
        A checksum fails, or the bytes are no value.
    """
    if not isinstance(value, Pointer) and value[:2] == b"\0\0":  # no pointers, form 0
        return unpack_value(value[2:])
    return load(view, pointer_of(value))


def pointer_of(value: Found) -> Pointer:
    """Pointer to the bundle of an entry."""
    if isinstance(value, Pointer):
        return value
    pointers, payload = unpack_record(value)
    if len(pointers) != 1 or payload[:1] in (b"", bytes((FORM_PLAIN,))):
        raise CorruptDataError(f"an entry of a key store begins with {value[:4].hex()}")
    return pointers[0]


def unpack_many(view: View, values: Sequence[Found]) -> list[Any]:
    """Values of some entries; bundles are read and decoded on threads."""
    large = [at for at, value in enumerate(values) if value[:2] != b"\0\0"]
    if len(large) < 2:
        return [unpack(view, value) for value in values]
    if view.reader.backend.remote:
        bring_bodies(view, [stored_pointer(pointer_of(values[at])) for at in large])
    loaded = iter(run([partial(unpack, view, values[at]) for at in large]))
    return [next(loaded) if value[:2] != b"\0\0" else unpack(view, value) for value in values]


def open_bundle(view: View, pointer: Pointer, data: memoryview | None = None) -> Bundle:
    """Verified head of a bundle; `data` begins with it, if it was read."""
    if pointer.head > MAX_HEAD:
        raise CorruptDataError(f"bundle head of {pointer.head} bytes", offset=pointer.offset)
    if data is None:
        data = memoryview(view.reader.read_part(pointer, 0, pointer.head))
    raw = bytes(data[: pointer.head])
    view.reader.verify(pointer, raw)
    return unpack_bundle_head(raw, pointer.length)


def load(view: View, pointer: Pointer) -> Any:
    """Value of a bundle: one read, decoded on threads.

    Raises
    ------
    TooLargeError
        It takes more memory than `kist.options.max_load`.
    """
    data: memoryview | None = None
    if pointer.length <= READ_WHOLE:
        # Memory that is there: of a get of 800 KB new memory for what is read took a tenth.
        data = scratch("bundle", pointer.length, _BYTES).data
        view.reader.read_into(pointer, 0, data)
    bundle = open_bundle(view, pointer, data)
    # A few kilobytes of a hostile file can claim any number of equal values.
    total = sum([part.size * part.dtype.itemsize for part in bundle.parts])
    if total > options.max_load:
        raise TooLargeError(
            f"the value takes {total:,} bytes, more than kist.options.max_load = "
            f"{options.max_load:,}; read parts of it through open(key), or raise the limit"
        )
    arrays = [empty(part) for part in bundle.parts]
    tasks: list[Callable[[], None]] = []
    for part, array in zip(bundle.parts, arrays, strict=True):
        _fill(view, pointer, part, data, array, tasks)
    if total >= THREAD_BYTES:
        run(tasks)
    else:
        for task in tasks:
            task()
    parts = bundle.parts
    made = [
        array if part.kind == PartKind.ARRAY else finished(part, array)
        for part, array in zip(parts, arrays, strict=True)
    ]
    usual = _places_of(bundle.plain) if len(bundle.plain) <= _SHORT else None
    if usual is not None and max(usual) < len(made):
        return tuple([made[place] for place in usual])
    return assemble(bundle, made.__getitem__)


class _Place(int):
    """Where a part of a value stands."""


@lru_cache(maxsize=256)
def _places_of(plain: bytes) -> tuple[int, ...] | None:
    """Return which parts a value consists of that is a tuple of parts, each once; else None.

    Many values of a key store are, and their plain bytes are the same.
    """
    try:
        value = unpack_value(plain, _Place)
    except CorruptDataError:
        return None  # which is told where it is read
    is_usual = type(value) is tuple and value and {type(item) for item in value} == {_Place}
    return value if is_usual and len(set(value)) == len(value) else None


def assemble(bundle: Bundle, part: Callable[[int], Any]) -> Any:
    """Value of a bundle whose parts are made by ``part(number)``, each at most once."""
    left = set(range(len(bundle.parts)))
    plain = bundle.plain
    if not plain:
        last = len(bundle.parts) - 1
        left.remove(last)  # the head was refused if it is not the value
        plain = part(last)

    def take(number: int) -> Any:
        if number not in left:
            raise CorruptDataError(f"a value with part {number}, which there is not, or not twice")
        left.remove(number)
        return part(number)

    return unpack_value(plain, take)


def _fill(
    view: View,
    pointer: Pointer,
    part: Part,
    data: memoryview | None,
    array: Array,
    tasks: list[Callable[[], None]],
) -> None:
    """Add what must be done to fill the memory of a part; `data` is the bundle's body, if read."""
    flat = array if array.ndim == 1 else array.reshape(-1)
    begin, at = 0, part.first
    for page in part.pages:
        own = pointer.within(at, *page)
        out = flat[begin : begin + part.page_values]
        if data is None:
            tasks.append(partial(read_page, view, own, out, 0, len(out)))
        else:
            tasks.append(partial(read_body, view, own, data[at : at + page.length], out))
        begin += part.page_values
        at += -(-page.length // ALIGNMENT) * ALIGNMENT


def empty(part: Part, size: int | None = None) -> Array:
    """Memory for the values of a part; flat memory for `size` of them.

    Raises
    ------
    TooLargeError
        There is not so much.
    """
    try:
        shape = part.shape if size is None else (size,)
        # np.empty forgets the byte order of times without a unit.
        return (
            np.ndarray(shape, part.dtype)
            if part.dtype.kind in "mM"
            else np.empty(shape, part.dtype)
        )
    except (MemoryError, ValueError) as error:
        raise TooLargeError(
            f"{part.size if size is None else size:,} values of {part.dtype} do not fit into memory"
        ) from error


def finished(part: Part, array: Array) -> Any:
    if part.kind == PartKind.ARRAY:
        return array
    if part.kind == PartKind.BYTEARRAY:
        return bytearray(array.data)
    raw = array.tobytes()
    if part.kind != PartKind.STR:
        return raw
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"a str is not UTF-8: {error.reason}") from None


def load_part(view: View, pointer: Pointer, part: Part) -> Any:
    """Read one part of a bundle whole."""
    array = empty(part)
    tasks: list[Callable[[], None]] = []
    _fill(view, pointer, part, None, array, tasks)
    run(tasks)
    return finished(part, array)
