"""CSV in pieces that end with a row, each parsed on all cores at once.

pyarrow's streaming reader parses on one core; its reader of whole files uses all of them. So text
is cut where a row ends, which is a line end outside quotes, and each piece is read as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Piece", "batches_of", "pieces"]

_LONGEST: Final = 16
"""Pieces may grow to so many times their size before a row in them ends."""
_INNER: Final = 1 << 20
"""Bytes that one core parses at a time."""
_COUNTED: Final = 1 << 18
"""Bytes that are looked at together."""
_ONE: Final = np.uint64(1)
_TOP: Final = np.uint64(63)
_SHIFTS: Final = tuple(np.uint64(1 << k) for k in range(6))


def batches_of(
    pa: Any, csv: Any, stream: Any, size: int, names: list[str] | None, generate: bool,
    parse: Any, convert: Any, *, check_utf8: bool = True,
) -> tuple[Any, Iterator[Any]]:  # fmt: skip
    """Return the schema and the record batches of a CSV file; the first piece decides the types.

    Parameters
    ----------
    stream : file object
        Of bytes in UTF-8.
    size : int
        Bytes of a piece.
    names : list of str, optional
        Of the columns, when the file does not say them.
    generate : bool
        Whether columns get names f0, f1, ...
    parse, convert : pyarrow.csv.ParseOptions and ConvertOptions
    check_utf8 : bool
        Whether text behind the first piece is looked at; if not, who takes it does that.
    """
    inner = min(size, _INNER)
    found = pieces(stream, size, parse.delimiter.encode())

    def read(piece: Piece, options: Any) -> Any:
        # Where every line end ends a row, the parser need not look for those that do.
        parse.newlines_in_values = piece.lines_within
        _check_closed(piece, parse.delimiter.encode())
        return csv.read_csv(pa.BufferReader(piece.text), options, parse, convert)

    first = read(
        next(found, Piece(memoryview(b""))),
        csv.ReadOptions(column_names=names, autogenerate_column_names=generate, block_size=inner),
    )
    convert.column_types = dict(zip(first.schema.names, first.schema.types, strict=True))
    convert.check_utf8 = check_utf8
    others = csv.ReadOptions(column_names=first.schema.names, block_size=inner)

    def batches() -> Iterator[Any]:
        yield from first.to_batches()
        for piece in found:
            # Most pieces show in a few bytes that they are not blank.
            if not (piece.text[:16].tobytes().isspace() and piece.text.tobytes().isspace()):
                yield from read(piece, others).to_batches()

    return first.schema, batches()


class Piece(NamedTuple):
    """Bytes that end with a row.

    Attributes
    ----------
    text : memoryview
    lines_within : bool
        Whether line ends may stand in quotes: if not, each of them ends a row.
    is_open : bool
        Whether the bytes end within quotes, as only the last piece may.
    """

    text: memoryview
    lines_within: bool = False
    is_open: bool = False


def pieces(stream: Any, size: int, delimiter: bytes = b",") -> Iterator[Piece]:
    """Yield the bytes of a stream in pieces that end where a row ends.

    All are views of one buffer: each holds until the next one is asked for.

    Raises
    ------
    ValueError
        A row is many times as long as a piece, as behind a quote that is not closed.
    """
    buffer = bytearray(2 * size)
    n = 0
    while True:
        if n + size > len(buffer):
            buffer = buffer[:n].ljust(2 * len(buffer), b"\0")
        # Neither reading nor what NumPy looks at keeps other threads from running.
        n_read = stream.readinto(memoryview(buffer)[n : n + size])
        if not n_read:
            break
        n += n_read
        end, lines_within, _ = _look(buffer, n, delimiter)
        if end:
            yield Piece(memoryview(buffer)[:end], lines_within)
            buffer[: n - end] = buffer[end:n]
            n -= end
        elif n > _LONGEST * size:
            raise ValueError(
                f"a row of more than {n:,} bytes, or a quote that is not closed; a larger "
                "block_size= may help"
            )
    if n:
        yield Piece(memoryview(buffer)[:n], *_look(buffer, n, delimiter)[1:])


def _check_closed(piece: Piece, delimiter: bytes) -> None:
    """Look that quotes are closed.

    Raises
    ------
    ValueError
        The text ends within them; pyarrow takes that for the last value.
    """
    if piece.is_open:
        text = piece.text.tobytes()
        # A quote within a value, as in inches, opens nothing.
        at = text.rfind(b'"')
        if at == 0 or text[at - 1 : at] in (delimiter, b"\n", b"\r"):
            raise ValueError(f"the text ends within quotes: {text[at : at + 40]!r}")


def _look(text: bytearray, n: int, delimiter: bytes) -> tuple[int, bool, bool]:
    """Return where the last row ends that is whole, and what a `Piece` says of all bytes.

    0 when no row ends.
    """
    ends = b"\n" if text.find(b"\n", 0, n) >= 0 else b"\r"
    n_looked = text.rfind(b'"', 0, n) + 1
    other = b"\r" if n_looked and ends == b"\n" and text.find(b"\r", 0, n) >= 0 else b""
    last, lines_within, is_open, before = -1, False, False, _ONE
    # In parts that stay in the cache: memory for what is compared would be new each time.
    for start in range(0, n_looked, _COUNTED):
        raw = np.frombuffer(text, np.uint8, min(_COUNTED, n_looked - start), start)
        quotes, lines = _bits(raw, b'"'), _bits(raw, ends)
        inside = _parity(quotes, is_open)
        if not lines_within:
            # A quote that opens stands where a value begins, or behind the one that it doubles.
            # Behind others it is text, and what is inside is not certain.
            may_open = _bits(raw, delimiter) | lines | quotes
            behind = (may_open << _ONE) | _carried(may_open, before)
            opens = quotes & ~behind | lines | (_bits(raw, other) if other else lines)
            lines_within = bool((opens & inside).any())
            before = may_open[-1] >> _TOP
        rows = lines & ~inside
        words = np.flatnonzero(rows)
        if len(words):
            last = start + 64 * int(words[-1]) + int(rows[words[-1]]).bit_length() - 1
        is_open = bool(inside[-1] >> _TOP)
    if is_open:
        return last + 1, lines_within or text.find(ends, n_looked, n) >= 0, True
    return max(last, text.rfind(ends, n_looked, n)) + 1, lines_within, False


def _bits(raw: NDArray[np.uint8], byte: bytes) -> NDArray[np.uint64]:
    """Return which bytes are this one, 64 to a word, the first one lowest."""
    bits = np.packbits(raw == byte[0], bitorder="little")
    if len(bits) % 8:
        bits = np.append(bits, np.zeros(-len(bits) % 8, np.uint8))
    return bits.view("<u8")


def _parity(bits: NDArray[np.uint64], is_odd: bool) -> NDArray[np.uint64]:
    """Return for each bit whether those up to it are odd in number, with one before all or not."""
    found = bits.copy()
    for shift in _SHIFTS:
        found ^= found << shift
    # What is odd in a word turns those behind it around.
    odd = np.bitwise_xor.accumulate(found >> _TOP)
    turned = np.empty_like(odd)
    turned[0] = is_odd
    np.bitwise_xor(odd[:-1], turned[0], out=turned[1:])
    found ^= ~turned + _ONE
    return found


def _carried(bits: NDArray[np.uint64], before: np.uint64) -> NDArray[np.uint64]:
    """Return the last bit of the word before each."""
    carried = np.empty_like(bits)
    carried[0] = before
    np.right_shift(bits[:-1], _TOP, out=carried[1:])
    return carried
