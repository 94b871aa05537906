"""Writes ``docs/reference.md`` from the docstrings: ``python docs/make_reference.py``.

A test holds the page and the docstrings together.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import kist

PAGE = Path(__file__).parent / "reference.md"

HEAD = """# Reference

Made from the docstrings by `python docs/make_reference.py`; a test compares them. What the
objects are for stands in the [tutorials](tutorial/first-steps.md).
"""

# In the order in which one meets them.
FIRST = ("open", "Store", "Group", "Table", "Column", "Selection", "Row", "Array", "KeyStore")

SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)
ENTRY = re.compile(r"^(\S[^\n]*)\n((?:[ ]{4}[^\n]*\n|\n)+)", re.MULTILINE)


def _signature(name: str, thing: Any) -> str:
    # Annotations are in the source; the docstring says what a parameter means.
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return name
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters if p.name != "self"]
    text = f"{name}{inspect.Signature(bare)}".replace("'", '"')
    return re.sub(r"<object object at 0x[0-9a-f]+>", "...", text)  # a mark for "not given"


def _section(title: str, body: str) -> list[str]:
    if title == "Examples":
        return ["```pycon", textwrap.dedent(body).strip(), "```", ""]
    lines = [f"*{title}*", ""]
    entries = ENTRY.findall(body.strip("\n") + "\n")
    if not entries or title in ("Notes", "See Also"):
        return [*lines, body.strip(), ""]
    for head, text in entries:
        name, _, kind = head.partition(" : ")
        kind = f" ({kind})" if kind else ""
        words = " ".join(textwrap.dedent(text).split())
        lines.append(f"- `{name}`{kind}: {words}")
    return [*lines, ""]


def _text(docstring: str) -> list[str]:
    docstring = inspect.cleandoc(docstring)
    parts = SECTION.split(docstring + "\n")
    lines = [parts[0].strip().replace("``", "`"), ""]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        lines += _section(title, body.replace("``", "`") if title != "Examples" else body)
    return lines


def _members(kind: type) -> list[tuple[str, Any]]:
    found = []
    for name in sorted(dir(kind)):
        member = inspect.getattr_static(kind, name)
        if name.startswith("_") and name not in ("__getitem__", "__setitem__"):
            continue
        function = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        if getattr(function, "__module__", "").startswith("kist") and function.__doc__:
            found.append((name, member))
    return found


def _own(kind: type, name: str) -> bool:
    """Whether a class says something of its own about a member."""
    bases = [base for base in kind.__mro__[1:] if base.__module__.startswith("kist")]
    return name in vars(kind) or not any(hasattr(base, name) for base in bases)


def _class(name: str, kind: type) -> list[str]:
    lines = [f"## {name}", "", *_text(kind.__doc__ or "")]
    bases = [base.__name__ for base in kind.__mro__[1:] if base.__module__.startswith("kist")]
    shown = [base for base in bases if base in kist.__all__]
    if shown:
        lines += [f"Also has what [{shown[0]}](#{shown[0].lower()}) has.", ""]
    inherited = {n for base in shown for n in dir(getattr(kist, base))}
    for member_name, member in _members(kind):
        if member_name in inherited and not _own(kind, member_name):
            continue
        if isinstance(member, property):
            lines += [f"### {name}.{member_name}", "", *_text(member.fget.__doc__ or "")]
            continue
        function = getattr(member, "__func__", member)
        title = {"__getitem__": "[key]", "__setitem__": "[key] = value"}.get(member_name)
        shown_as = f"{name}{title}" if title else _signature(f"{name}.{member_name}", function)
        lines += [f"### {name}.{member_name}", "", f"`{shown_as}`", ""]
        lines += _text(function.__doc__)
    return lines


def _errors() -> list[str]:
    lines = ["## Errors and warnings", "", "| name | also a | when |", "|---|---|---|"]
    for name in sorted(kist.__all__):
        thing = getattr(kist, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            bases = ", ".join(base.__name__ for base in thing.__bases__)
            first = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
            lines.append(f"| `{name}` | {bases} | {first} |")
    return [*lines, ""]


def render() -> str:
    """The whole page."""
    things = {name: getattr(kist, name) for name in kist.__all__}
    plain = [n for n, t in things.items() if not (isinstance(t, type) and issubclass(t, Exception))]
    order = [n for n in FIRST if n in plain] + sorted(n for n in plain if n not in FIRST)
    lines = [HEAD]
    for name in order:
        thing = things[name]
        if isinstance(thing, type):
            lines += _class(name, thing)
        elif callable(thing):
            lines += [f"## {name}", "", f"`{_signature(f'kist.{name}', thing)}`", ""]
            lines += _text(thing.__doc__ or "")
        elif inspect.ismodule(thing):
            lines += [f"## {name}", "", *_text(thing.__doc__ or "")]
    lines += _errors()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: {PAGE.stat().st_size:,} bytes\n")
