"""Building blocks of HTML reprs: all text escaped, no scripts, colours of the page they stand in.

The parts of a repr are built with `element`, `text`, `table`, `facts` and `details`, and
`document` puts the style around them. Untrusted notebooks drop the style; what is left is plain
HTML that still reads well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from kist.model.text import visible

__all__ = [
    "details",
    "document",
    "element",
    "facts",
    "guarded_html",
    "heading",
    "pairs",
    "table",
    "text",
]

# As html.escape does it; that module takes longer to import than a listing to print.
_ESCAPED: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
)
# Greys that are half transparent are seen on white and on black; nothing else has a colour.
STYLE: Final = (
    ".kist{font-size:13px;line-height:1.4;overflow-x:auto}"
    ".kist .kh{margin:2px 0}"
    ".kist .kn{opacity:.7}"
    ".kist .kw{font-weight:600}"
    ".kist code{background:none;color:inherit;font-size:inherit;padding:0}"
    ".kist table{border-collapse:collapse;margin:4px 0;border:0;font-variant-numeric:tabular-nums}"
    ".kist th,.kist td{padding:1px 8px;border:0;text-align:right;white-space:nowrap;"
    "background:none}"
    ".kist thead{border-bottom:1px solid rgba(128,128,128,.5)}"
    ".kist thead td,.kist thead tr+tr th{font-weight:400;font-size:11px;opacity:.7}"
    ".kist tbody th{font-weight:400;opacity:.7}"
    ".kist tbody tr:hover{background:rgba(128,128,128,.12)}"
    ".kist .kf td,.kist .kf th{text-align:left;vertical-align:top;white-space:pre-wrap}"
    ".kist pre{background:none;color:inherit;margin:4px 0}"
    ".kist ul{list-style:none;margin:0;padding-left:18px;"
    "border-left:1px solid rgba(128,128,128,.3)}"
    ".kist li{margin:0}"
    ".kist summary{cursor:pointer}"
)


def text(value: object) -> str:
    """Return text as HTML shows it, whatever it contains."""
    return visible(str(value)).translate(_ESCAPED)


def element(name: str, inner: str, kind: str = "") -> str:
    """Return an element around HTML.

    >>> element("b", text("<a>"))
    '<b>&lt;a&gt;</b>'
    """
    start = f'<{name} class="{kind}">' if kind else f"<{name}>"
    return f"{start}{inner}</{name}>"


def heading(kind: str, name: str, *notes: str | None) -> str:
    """Return the line above a repr: what it is, its name, and notes that are not empty."""
    parts = [element("span", text(kind), "kw"), element("code", text(name))]
    line = " ".join(parts)
    rest = " · ".join(text(note) for note in notes if note)
    return element("div", f"{line} {element('span', rest, 'kn')}" if rest else line, "kh")


def table(
    head: Sequence[Sequence[str]], rows: Iterable[Sequence[str] | None], n_columns: int
) -> str:
    """Return a table of texts; the first text of each line labels it.

    Parameters
    ----------
    head : sequence of lines
        The first has the names of the columns.
    rows : iterable of lines or None
        None stands for lines that are left out.
    n_columns : int
        Columns beside the labels.
    """
    top = []
    for at, line in enumerate(head):
        name = "td" if at else "th"
        top.append(element("tr", "".join(element(name, text(cell)) for cell in line)))
    body = []
    for row in rows:
        if row is None:
            gap = f'<td colspan="{n_columns}"></td>' if n_columns else ""
            body.append(element("tr", element("th", "⋮") + gap))
        else:
            cells = element("th", text(row[0])) + "".join(element("td", text(c)) for c in row[1:])
            body.append(element("tr", cells))
    return element("table", element("thead", "".join(top)) + element("tbody", "".join(body)))


def facts(values: Mapping[str, Any]) -> str:
    """Return names and texts as a table of two columns; a mapping is a table within."""
    return pairs(values.items())


def pairs(values: Iterable[tuple[str, Any]]) -> str:
    """Return the same of pairs, whose names may be equal."""
    lines = [
        element("tr", element("th", text(name)) + element("td", _fact(value)))
        for name, value in values
    ]
    return element("table", element("tbody", "".join(lines)), "kf")


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return facts(value)
    return "<br>".join(text(line) for line in str(value).split("\n"))


def preformatted(value: str) -> str:
    """Return text with its line ends and blanks, in letters of one width."""
    return element("pre", "\n".join(text(line) for line in value.split("\n")))


def details(summary: str, body: str, is_open: bool = False) -> str:
    """Return what can be opened and closed by a click on its summary; both are HTML."""
    return f"<details{' open' if is_open else ''}><summary>{summary}</summary>{body}</details>"


def document(*parts: str) -> str:
    """Return parts of HTML together, with the style that they need."""
    return element("div", f"<style>{STYLE}</style>" + "".join(parts), "kist")


def guarded_html(head: str, draw: Callable[[], str]) -> str:
    """Return what `draw` gives; when that fails, the head and why: a repr does not raise."""
    try:
        return draw()
    except Exception as error:
        return document(heading("", head, str(error) or type(error).__name__))
