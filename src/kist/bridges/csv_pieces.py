"""CSV in pieces that end with a row, each parsed on all cores at once.

pyarrow's streaming reader parses on one core; its reader of whole files uses all of them. So text
is cut where a row ends, which is a line end outside quotes, and each piece is read as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, cast

import numpy as np

__all__ = ["Piece", "batches_of", "pieces"]

_LONGEST: Final = 16
"""Pieces may grow to so many times their size before a row in them ends."""
_INNER: Final = 1 << 20
"""Bytes that one core parses at a time."""
_COUNTED: Final = 1 << 18


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
    found = pieces(stream, size)

    def read(piece: Piece, options: Any) -> Any:
        # Without quotes every line end ends a row, and the parser need not look for others.
        parse.newlines_in_values = piece.n_quotes > 0
        _check_closed(piece, parse.delimiter.encode())
        return csv.read_csv(pa.BufferReader(piece.text), options, parse, convert)

    first = read(
        next(found, Piece(memoryview(b""), 0)),
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
    """Bytes that end with a row, and how many of them are quotes."""

    text: memoryview
    n_quotes: int


def pieces(stream: Any, size: int) -> Iterator[Piece]:
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
        # Neither reading nor what NumPy counts keeps other threads from running.
        n_read = stream.readinto(memoryview(buffer)[n : n + size])
        if not n_read:
            break
        n += n_read
        end, n_quotes = _last_end(buffer, n)
        if end:
            yield Piece(memoryview(buffer)[:end], n_quotes)
            buffer[: n - end] = buffer[end:n]
            n -= end
        elif n > _LONGEST * size:
            raise ValueError(
                f"a row of more than {n:,} bytes, or a quote that is not closed; a larger "
                "block_size= may help"
            )
    if n:
        text = memoryview(buffer)[:n]
        yield Piece(text, _n_quotes(text))


def _check_closed(piece: Piece, delimiter: bytes) -> None:
    """Look that quotes are closed.

    Raises
    ------
    ValueError
        The text ends within them; pyarrow takes that for the last value.
    """
    if piece.n_quotes % 2:
        text = piece.text.tobytes()
        # A quote within a value, as in inches, opens nothing.
        at = text.rfind(b'"')
        if at == 0 or text[at - 1 : at] in (delimiter, b"\n", b"\r"):
            raise ValueError(f"the text ends within quotes: {text[at : at + 40]!r}")


def _last_end(text: bytearray, n: int) -> tuple[int, int]:
    """Return where the last row ends that is whole, and how many quotes are before that.

    0 when there is none.
    """
    last = text.rfind(b"\n", 0, n)
    if last < 0:
        last = text.rfind(b"\r", 0, n)
    if last < 0:
        return 0, 0
    # Quotes within quotes are doubled, so an even number of them closes.
    n_quotes = _n_quotes(memoryview(text)[:last])
    if n_quotes % 2 == 0:
        return last + 1, n_quotes
    raw = np.frombuffer(text, np.uint8, n)
    ends = np.flatnonzero(raw == raw[last])
    before = np.searchsorted(np.flatnonzero(raw == ord('"')), ends)
    outside = np.flatnonzero(before % 2 == 0)
    if not len(outside):
        return 0, 0
    return int(ends[outside[-1]]) + 1, int(before[outside[-1]])


def _n_quotes(text: memoryview) -> int:
    """Count quotes, beside other threads; where there are none, in a twentieth of the time."""
    first = cast(bytearray, text.obj).find(b'"', 0, len(text))
    if first < 0:
        return 0
    raw = np.frombuffer(text, np.uint8)
    # In parts that stay in the cache: memory for what is compared would be new each time.
    return sum(
        int(np.count_nonzero(raw[start : start + _COUNTED] == ord('"')))
        for start in range(first, len(raw), _COUNTED)
    )
