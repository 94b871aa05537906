"""Pieces: a batch of rows, all leaves together."""

from __future__ import annotations

import numpy as np
from kist_pages import from_little, unblosc
from kist_types import Array, Cursor, Damage, Leaf, Unknown

ORDER = ("f8", "i8", "f4", "i4", "u4", "i2", "u2", "i1", "u1")
DELTA, ZIGZAG = 16, 32


def words_of(leaf: Leaf) -> tuple[str, int] | None:
    """Type and number of the words of one value; None if the dtype has none."""
    kind, size = leaf.kind, leaf.dtype.itemsize
    if kind == 1:
        return "u1", 1
    if kind in (6, 7) or (kind in (2, 3) and size == 8):
        return "i8", 1
    if kind in (2, 3):
        return f"{'iu'[kind - 2]}{size}", 1
    if kind == 4 and size <= 8:
        return ("u2" if size == 2 else f"f{size}"), 1
    if kind == 5 and size <= 16:
        return f"f{size // 2}", 2
    if kind in (4, 5, 14, 15):
        if leaf.big:
            return None
        word = "u4" if size in (12, 24) else "i8"
        return word, size // int(word[1])
    if kind == 9:
        return "u4", size // 4
    return None


def kept_words(leaf: Leaf) -> tuple[str, int] | None:
    """Type of the words and words a row of a leaf kept as words; None for bytes."""
    words = words_of(leaf)
    if words is None or not 1 <= words[1] * leaf.values <= 64:
        return None
    return words[0], words[1] * leaf.values


def read_piece(data: bytes, leaves: list[Leaf]) -> tuple[int, list[Array]]:
    """Number of rows, and for each leaf its values: an array of rows x values."""
    cursor = Cursor(data, "piece")
    version, codec, zero, rows, size, exceptions = cursor.all("BBHIII")
    if version != 1 or codec > 3:
        raise Unknown(f"piece of version {version} with codec {codec}")
    if zero:
        raise Unknown("flags of a piece")
    if rows > 65536:
        raise Damage("piece: number of rows")
    if codec == 3:
        return rows, _read_packed(cursor, leaves, rows, size, exceptions)
    kept = [kept_words(leaf) for leaf in leaves]
    columns = [
        (word, index, place)
        for word in ORDER
        for index, words in enumerate(kept)
        if words is not None and words[0] == word
        for place in range(words[1])
    ]
    floats = sum(word in ("f8", "f4") for word, _, _ in columns)
    plain = sum(
        rows * leaf.values * leaf.dtype.itemsize
        for leaf, words in zip(leaves, kept, strict=True)
        if words is None
    )
    most = len(columns) * (9 + 8 * rows) + floats + 12 * exceptions + plain
    if exceptions > floats * rows or size > most:
        raise Damage("piece: size of the payload")
    body = cursor.rest()
    if codec:
        body = unblosc(body, size, (1, 5)[codec - 1], 0, 1)
    elif len(body) != size:
        raise Damage("piece: size of the payload")
    payload = Cursor(body, "payload of a piece")
    words_by_leaf = _read_columns(payload, columns, kept, rows, exceptions, floats)
    result = []
    for leaf, words, stored in zip(leaves, kept, words_by_leaf, strict=True):
        if words is None:
            result.append(_read_bytes(payload, leaf, rows))
        else:
            little = np.ascontiguousarray(stored).view(f"V{leaf.dtype.itemsize}")
            values = from_little(little.reshape(-1), leaf)
            result.append(values.reshape(rows, leaf.values))
    payload.end()
    return rows, result


def _read_packed(
    cursor: Cursor, leaves: list[Leaf], rows: int, size: int, exceptions: int
) -> list[Array]:
    """Rows as they are: for each leaf its bytes of each row."""
    width = sum(leaf.dtype.itemsize * leaf.values for leaf in leaves)
    if exceptions or size != rows * width:
        raise Damage("piece: size of the packed rows")
    data = cursor.array("u1", size).reshape(rows, width)
    cursor.end()
    result = []
    at = 0
    for leaf in leaves:
        n = leaf.dtype.itemsize * leaf.values
        values = np.ascontiguousarray(data[:, at : at + n])
        at += n
        if leaf.kind == 1 and values.size and values.max() > 1:
            raise Damage("bool that is neither 0 nor 1")
        if n:
            result.append(values.view(leaf.dtype).reshape(rows, leaf.values))
        else:
            result.append(np.zeros((rows, leaf.values), leaf.dtype))
    return result


def _read_columns(
    payload: Cursor,
    columns: list[tuple[str, int, int]],
    kept: list[tuple[str, int] | None],
    rows: int,
    exceptions: int,
    floats: int,
) -> list[Array]:
    """The words of all leaves: for each an array of rows x words."""
    modes = payload.take(len(columns))
    exponents = payload.take(floats)
    if any(mode & 0xC0 or mode & 15 > 8 for mode in modes):
        raise Unknown("mode of a piece")
    if any(k > 22 and k != 255 for k in exponents):
        raise Unknown("exponent of a piece")
    differs = sum(bool(mode & DELTA) for mode in modes)
    firsts = payload.array("u1", 8 * differs).reshape(8, differs).T
    first = iter(np.ascontiguousarray(firsts).view("<i8").reshape(-1))
    numbers = np.zeros((len(columns), rows, 8), np.uint8)
    for plane in range(8):
        which = [i for i, mode in enumerate(modes) if mode & 15 > plane]
        numbers[which, :, plane] = payload.array("u1", len(which) * rows).reshape(len(which), rows)
    places = payload.array("<u4", exceptions)
    bits = payload.array("<u8", exceptions)
    if exceptions and int(places.max()) >= floats * rows:
        raise Damage("piece: place of an exception")
    results: list[Array] = [
        np.zeros((rows, words[1] if words else 0), f"<{words[0] if words else 'u1'}")
        for words in kept
    ]
    number = 0
    for i, (word, index, place) in enumerate(columns):
        v = numbers[i].view("<u8").reshape(rows)
        if modes[i] & ZIGZAG:
            v = (v >> np.uint64(1)) ^ (~(v & np.uint64(1)) + np.uint64(1))
        if modes[i] & DELTA:
            start = next(first)
            if rows:
                v = v.copy()
                v[0] = start.view(np.uint64)
                v = np.cumsum(v, dtype=np.uint64)
        values: Array = v.astype(f"<u{word[1]}")
        if word[0] == "f":
            if exponents[number] != 255:
                quotient = v.view("<i8").astype("<f8") / np.float64(10 ** exponents[number])
                values = quotient.astype(f"<{word}").view(values.dtype)
            mine = places // max(rows, 1) == number
            values[places[mine] % max(rows, 1)] = bits[mine].astype(values.dtype)
            number += 1
        results[index][:, place] = values.view(f"<{word}")
    return results


def _read_bytes(payload: Cursor, leaf: Leaf, rows: int) -> Array:
    """A leaf that is kept as bytes."""
    shape = (rows, leaf.values)
    size = leaf.dtype.itemsize * leaf.values * rows
    words = words_of(leaf)
    item = int(words[0][1]) if words else 1
    planes = payload.array("u1", size).reshape(item, size // item)
    data = np.ascontiguousarray(planes.T).reshape(-1)
    if leaf.dtype.itemsize == 0:
        return np.zeros(shape, leaf.dtype)
    if leaf.kind == 1 and data.size and data.max() > 1:
        raise Damage("bool that is neither 0 nor 1")
    return data.view(leaf.dtype).reshape(shape)


def read_ordinals(data: bytes) -> Array:
    """Ordinals of a patch, ascending."""
    cursor = Cursor(data, "ordinals")
    mode = cursor.get("B")
    result: Array
    if mode == 1:
        first, step, count = cursor.all("HHI")
        if count > 65536 or (count > 1 and step == 0):
            raise Damage("ordinals: range")
        result = first + step * np.arange(count, dtype=np.int64)
    elif mode == 2:
        result = cursor.array("<u2", cursor.left // 2).astype(np.int64)
    else:
        raise Unknown(f"ordinals of mode {mode}")
    cursor.end()
    if (np.diff(result) <= 0).any():
        raise Damage("ordinals: do not ascend")
    return result
