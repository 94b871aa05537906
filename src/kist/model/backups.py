"""A copy of a store in a file of its own: what was asked for, checked before it is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from kist.errors import TransactionError

if TYPE_CHECKING:
    from kist.engine import Durability
    from kist.model.store import Store

__all__ = ["backup"]


def backup(
    store: Store,
    target: str | os.PathLike[str],
    compact: bool,
    overwrite: bool,
    durability: Durability,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Copy the newest commit of a store; see `Store.backup`."""
    session = store._session
    session.check_open()
    if session.own_writer() is not None:
        raise TransactionError(
            "a backup holds commits, and a transaction is open here: end it first"
        )
    name = os.fspath(target)
    if not isinstance(name, str):
        raise TypeError(f"the target is a str or a path object, not {type(target).__name__}")
    if durability not in ("full", "relaxed", "none"):
        raise ValueError(f"durability is 'full', 'relaxed' or 'none', not {durability!r}")
    return session.engine.backup(
        name,
        snapshot=None if session.version is None else store._view(),
        compact=compact,
        overwrite=overwrite,
        sync=durability == "full",
        progress=progress,
    )
