"""Colours, where the output is a terminal that wants them, or where --color asks for them."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import click

__all__ = ["WHEN", "choose", "painted", "wanted"]

WHEN: Final = ("auto", "always", "never")


def choose(ctx: click.Context, parameter: click.Parameter, when: str) -> None:
    """Remember what ``--color`` says, for this call and the verbs below it."""
    ctx.color = {"always": True, "never": False}.get(when)


def wanted(*, err: bool = False) -> bool:
    """Tell whether the output, or that of errors, gets colours."""
    ctx = click.get_current_context(silent=True)
    if ctx is not None and ctx.color is not None:
        return ctx.color
    stream = sys.stderr if err else sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, *, err: bool = False, **colours: Any) -> str:
    """Return a text in colours where they are wanted."""
    return click.style(text, **colours) if wanted(err=err) else text
