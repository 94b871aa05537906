"""Which file, and which node in it, a text such as ``lab.kist:raw/images`` names."""

from __future__ import annotations

import os

__all__ = ["split_place"]


def split_place(text: str) -> tuple[str, str]:
    """Return (file, path in it) of ``FILE:PATH``.

    The text is cut at the last colon to the left of which there is a file, so that colons in
    the names of files, of drives and of nodes do no harm. The path is empty when there is none.
    """
    at = len(text)
    while at > 0:
        if os.path.exists(text[:at]):
            return text[:at], text[at + 1 :]
        at = text.rfind(":", 0, at)
    at = text.find(".kist:") + len(".kist")
    return (text[:at], text[at + 1 :]) if at >= len(".kist") else (text, "")  # named in the error
