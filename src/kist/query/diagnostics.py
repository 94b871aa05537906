"""Messages that show the place in the text which is at fault."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from kist.errors import QueryError

__all__ = ["did_you_mean", "query_error"]

#: Characters of a long line that are shown around the place at fault.
_WINDOW = 100


def query_error(message: str, text: str | None, span: tuple[int, int] | None) -> QueryError:
    """Return the error, with the line of the text and a line of carets under the span."""
    if text is None or span is None:
        return QueryError(message, text=text)
    start, stop = span
    line_start = text.rfind("\n", 0, start) + 1
    line_stop = text.find("\n", start)
    line_stop = len(text) if line_stop < 0 else line_stop
    if line_stop - line_start > _WINDOW:
        line_start = max(line_start, min(start - _WINDOW // 4, line_stop - _WINDOW))
        line_stop = min(line_stop, line_start + _WINDOW)
    # Tabs would move the carets.
    line = text[line_start:line_stop].replace("\t", " ")
    carets = "^" * max(1, min(stop, line_stop) - start)
    shown = f"{message}\n    {line}\n    {' ' * (start - line_start)}{carets}"
    return QueryError(shown, text=text, span=span)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?", or a few of the known names, or nothing."""
    names = list(known)
    if close := difflib.get_close_matches(name, names, n=1, cutoff=0.6):
        return f"; did you mean {close[0]!r}?"
    lower = {other.lower(): other for other in names}
    if name.lower() in lower:
        return f"; did you mean {lower[name.lower()]!r}?"
    if not names:
        return ""
    more = ", ..." if len(names) > 8 else ""
    return f"; there are {', '.join(map(repr, names[:8]))}{more}"
