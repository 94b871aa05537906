"""Stores out of which others are made, or that are read as one: users give no mode for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kist.errors import StoreNotFoundError
from kist.model.store import open

if TYPE_CHECKING:
    from kist.model.store import Store

__all__ = ["open_source", "without_modes"]


def open_source(path: Any, secrets: object = None) -> Store:
    """Open a store for reading; raises as `kist.open`, without advice on modes."""
    try:
        return open(path, "r", secrets=secrets)
    except StoreNotFoundError as error:
        raise without_modes(error) from None
    finally:
        secrets = None  # a traceback would show it


def without_modes(error: StoreNotFoundError) -> StoreNotFoundError:
    """Return the error of a file that is missing, which does not name a mode that makes one."""
    if error.filename is None:  # not on this machine: who serves it has said what is wrong
        return error
    found = StoreNotFoundError(f"{error.filename!r}: no such file")
    found.errno, found.filename = error.errno, error.filename
    return found
