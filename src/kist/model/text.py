"""Words for reprs and listings: short, on one line, and safe to print."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from kist.engine import View
    from kist.model.store import Store

__all__ = [
    "CELL",
    "brief",
    "cell",
    "format_bytes",
    "guarded",
    "newer",
    "pad",
    "ratio",
    "said",
    "shorten",
    "shown",
    "view_repr",
    "visible",
    "width",
    "wrapped",
]

_SHORTER: Final = {"reference": "ref", "dictionary": "dict"}
CELL: Final = 24
"""Characters of one value in a repr."""
_NAMES: Final = 10
"""Names in the repr of a view of keys, values or items."""


def guarded(head: str, draw: Callable[[], str]) -> str:
    """Return what `draw` gives; when that fails, the head and why.

    A repr is asked for by debuggers, tracebacks and notebooks, also of handles that are closed,
    stale or lead to damaged bytes: it must say so, and not raise.
    """
    try:
        return draw()
    except Exception as error:
        why = visible(str(error)) or type(error).__name__
        return f"<{head}: {why}>"


def view_repr(
    what: str, path: str, names: Callable[[], Iterable[Any]], n: Callable[[], int]
) -> str:
    """Return what a view of a group or key store shows: the first names, and how many there are.

    >>> view_repr("keys", "/", lambda: "ab", lambda: 2)
    "<keys of '/': 'a', 'b'>"
    """
    head = f"{what} of {path!r}"

    def draw() -> str:
        some = [cell(repr(name), 40) for name in islice(names(), _NAMES)]
        count = n()
        more = f", ... ({count:,} in all)" if count > len(some) else ""
        return f"<{head}: {', '.join(some) or 'none'}{more}>"

    return guarded(head, draw)


def visible(text: str) -> str:
    """Return the text with what cannot be seen written out: no value ends a line or moves a cursor.

    >>> print(visible("two\\nlines, \\x1b[31mred"))
    two\\nlines, \\x1b[31mred
    """
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else c.encode("unicode_escape").decode() for c in text])


def shown(text: str) -> str:
    """Return the same, but keep ends of lines and tabs: a text as a terminal may show it."""
    if text.isprintable():
        return text
    lines = (map(visible, line.split("\t")) for line in text.split("\n"))
    return "\n".join(map("\t".join, lines))


def width(text: str) -> int:
    """Return the number of columns that the text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def shorten(text: str, most: int) -> str:
    """Return the text, cut to `most` columns of a terminal.

    >>> shorten("a long story", 8)
    'a lon...'
    """
    if len(text) * 2 <= most or width(text) <= most:
        return text
    kept, end = 0, 0
    for c in text:
        kept += width(c)
        if kept > most - 3:
            break
        end += 1
    return text[:end] + "..."[:most]


def pad(text: str, columns: int, left: bool = False) -> str:
    """Return the text filled with blanks to so many columns, before it unless it stands left."""
    blanks = " " * (columns - width(text))
    return text + blanks if left else blanks + text


def wrapped(values: Iterable[str], most: int = 80) -> str:
    """Return values in brackets, with ends of lines where a terminal would else break within one.

    >>> print(wrapped(["first", "second", "third"], 16))
    [first, second,
     third]
    """
    lines, line = [], "["
    for value in values:
        if width(line) + width(value) >= most and len(line) > 1:
            lines.append(line.rstrip())
            line = " "
        line += f"{value}, "
    return "\n".join([*lines, line.removesuffix(", ") + "]"])


def said(value: Any, write: Callable[[Any], str] = repr) -> str:
    """Return what Python writes for a value, or that it writes nothing for it.

    It refuses ints of more than 4,300 digits, which a file may hold.
    """
    try:
        return write(value)
    except ValueError as error:
        return f"({type(value).__name__}: {error})"


def cell(value: Any, most: int = CELL) -> str:
    """Return a value in a few characters."""
    if isinstance(value, str | bytes) and len(value) > 4 * most:
        value = value[: 4 * most]  # more is not shown
    return shorten(visible(said(value, str)), most)


def ratio(memory: int, stored: int) -> str:
    """Return how many times smaller stored bytes are.

    >>> ratio(1000, 250), ratio(5_000_000, 1), ratio(0, 0)
    ('4.0x', '5,000,000x', '-')
    """
    if not memory or not stored:
        return "-"
    times = memory / stored
    return f"{times:.2f}x" if times < 2 else f"{times:.1f}x" if times < 100 else f"{times:,.0f}x"


def brief(encoding: str) -> str:
    """Return how values are encoded in fewer letters; `info` has them all.

    >>> brief("decimal(2) reference blosc2-zstd+bitshuffle"), brief("dictionary none")
    ('decimal(2) ref zstd', 'dict')
    """
    words = [
        _SHORTER.get(word, word.removeprefix("blosc2-").split("+")[0])
        for word in encoding.split(" ")
    ]
    return " ".join(words[:-1] if len(words) > 1 and words[-1] == "none" else words)


def format_bytes(n: int) -> str:
    """Return a number of bytes for people.

    >>> format_bytes(1000), format_bytes(1536), format_bytes(10 * 2**30)
    ('1,000 B', '1.5 KiB', '10.0 GiB')
    """
    if abs(n) < 1024:
        return f"{n:,} B"
    size = float(n)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if abs(size) < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:,.1f} TiB"


def newer(store: Store, view: View) -> str:
    """Return that a handle of mode ``r`` does not show the newest commit, or nothing."""
    session = store._session
    if store.mode != "r" or session.version is not None:
        return ""
    n = session.engine.newer(view.state.shown)
    if not n:
        return ""
    return f"{n:,} newer commit{'' if n == 1 else 's'}: refresh() shows them"
