"""CSV in pieces that end with a row, each parsed on all cores at once.

pyarrow's streaming reader parses on one core; its reader of whole files uses all of them. So text
is cut where a row ends, which is a line end outside quotes, and each piece is read as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

__all__ = ["batches_of", "pieces"]

_LONGEST: Final = 16
"""Pieces may grow to so many times their size before a row in them ends."""
_INNER: Final = 1 << 20
"""Bytes that one core parses at a time."""


def batches_of(
    pa: Any, csv: Any, stream: Any, size: int, names: list[str] | None, generate: bool,
    parse: Any, convert: Any,
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
    """
    inner = min(size, _INNER)
    found = pieces(stream, size)

    def read(piece: bytes, options: Any) -> Any:
        _check_closed(piece, parse.delimiter.encode())
        # Without quotes every line end ends a row, and the parser need not look for others.
        parse.newlines_in_values = b'"' in piece
        return csv.read_csv(pa.BufferReader(piece), options, parse, convert)

    first = read(
        next(found, b""),
        csv.ReadOptions(column_names=names, autogenerate_column_names=generate, block_size=inner),
    )
    convert.column_types = dict(zip(first.schema.names, first.schema.types, strict=True))
    others = csv.ReadOptions(column_names=first.schema.names, block_size=inner)

    def batches() -> Iterator[Any]:
        yield from first.combine_chunks().to_batches()
        for piece in found:
            if not piece.isspace():
                yield from read(piece, others).combine_chunks().to_batches()

    return first.schema, batches()


def pieces(stream: Any, size: int) -> Iterator[bytes]:
    """Yield the bytes of a stream in pieces that end where a row ends.

    Raises
    ------
    ValueError
        A row is many times as long as a piece, as behind a quote that is not closed.
    """
    left = b""
    while data := stream.read(size):
        left += data
        end = _last_end(left)
        if end:
            yield left[:end]
            left = left[end:]
        elif len(left) > _LONGEST * size:
            raise ValueError(
                f"a row of more than {len(left):,} bytes, or a quote that is not closed; a larger "
                "block_size= may help"
            )
    if left:
        yield left


def _check_closed(piece: bytes, delimiter: bytes) -> None:
    """Raise ValueError where the text ends within quotes; pyarrow takes that for the last value."""
    if piece.count(b'"') % 2:
        # A quote within a value, as in inches, opens nothing.
        at = piece.rfind(b'"')
        if at == 0 or piece[at - 1 : at] in (delimiter, b"\n", b"\r"):
            raise ValueError(f"the text ends within quotes: {piece[at : at + 40]!r}")


def _last_end(text: bytes) -> int:
    """Return where the last row ends that is whole, 0 when there is none."""
    last = max(text.rfind(b"\n"), -1 if b"\n" in text else text.rfind(b"\r"))
    # Quotes within quotes are doubled, so an even number of them closes.
    if last < 0 or text.count(b'"', 0, last) % 2 == 0:
        return last + 1
    raw = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(raw == raw[last])
    before = np.searchsorted(np.flatnonzero(raw == ord('"')), ends)
    outside = ends[before % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0
