"""Names of nodes, and paths made of them.

A name is any Unicode text of 1 to 255 bytes in UTF-8 without ``/`` and NUL, except ``.`` and
``..``. It is stored as given; siblings must differ also in Unicode's form NFC, because names that
look the same would otherwise be two.
"""

from __future__ import annotations

import os
import unicodedata

from kist.errors import NodeNameError
from kist.format.node import MAX_NAME, article

__all__ = ["check_name", "is_plain", "join", "nfc", "split"]


def check_name(name: str, what: str = "node") -> str:
    """Return the name of a node, or raise `NodeNameError` with the reason."""
    if not isinstance(name, str):
        raise NodeNameError(f"the name of {article(what)} is a str, not {type(name).__name__}")
    if not name:
        raise NodeNameError(f"the name of {article(what)} cannot be empty")
    if name in (".", "..") and what == "node":
        raise NodeNameError(f"{name!r} cannot be the name of {article(what)}")
    if "\0" in name:
        raise NodeNameError(f"{name!r}: the name of {article(what)} cannot contain NUL")
    if "/" in name and what == "node":
        raise NodeNameError(f"{name!r}: '/' separates names, a name cannot contain it")
    if not name.isascii():
        try:
            length = len(name.encode())
        except UnicodeEncodeError:
            raise NodeNameError(f"{name!r} holds a lone surrogate, which is no text") from None
    else:
        length = len(name)
    if length > MAX_NAME:
        raise NodeNameError(
            f"{name[:20] + '...'!r}: the name of {article(what)} takes at most {MAX_NAME} bytes of "
            f"UTF-8, this one {length}"
        )
    return name


def split(path: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether a path starts at the root, and its names.

    Raises
    ------
    NodeNameError
        The path is empty, ends with ``/``, contains ``//`` or a name that is none.

    Examples
    --------
    >>> split("raw/images"), split("/raw"), split("/")
    ((False, ('raw', 'images')), (True, ('raw',)), (True, ()))
    """
    if not isinstance(path, str):
        raise NodeNameError(f"a path is a str, not {type(path).__name__}")
    absolute = path.startswith("/")
    if path == "/":
        return True, ()
    rest = path[1:] if absolute else path
    if not rest:
        raise NodeNameError("a path cannot be empty")
    if rest.endswith("/"):
        raise NodeNameError(f"{path!r} ends with '/'; leave it out")
    names = tuple(rest.split("/"))
    for name in names:
        if not name:
            raise NodeNameError(f"{path!r} contains '//', which leaves a name empty")
        check_name(name)
    return absolute, names


def join(parent: str, name: str) -> str:
    """Return the path of a child.

    >>> join("/", "a"), join("/a", "b")
    ('/a', '/a/b')
    """
    return f"/{name}" if parent == "/" else f"{parent}/{name}"


def nfc(name: str) -> str:
    """Return the name in Unicode's form NFC, which its key holds."""
    # The composed form of ASCII is itself; the reverse does not hold (the Kelvin sign is 'K').
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_plain(path: object) -> bool:
    """Tell whether a path is one of this machine, without asking anything that takes time."""
    return "://" not in path if isinstance(path, str) else isinstance(path, os.PathLike)
