"""What can be said of a file that is sealed as a whole, without its secret."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from kist.errors import SecretError, TamperedDataError, WrongSecretError
from kist.model.check import CheckReport, Problem

if TYPE_CHECKING:
    from kist.model.info import Info

__all__ = ["check", "sealed_info"]

Progress = Callable[[int, int], None]

_NOTE: Final = (
    "the whole file is sealed: checksums hold or are named above, tags were not checked; secrets="
    " (KIST_SECRET or --secret-file) checks them"
)
_KINDS: Final = {1: "raw key", 2: "passphrase", 4: "key service"}


def check(
    path: str | os.PathLike[str], *, secrets: Any = None, progress: Progress | None = None
) -> CheckReport:
    """Verify every byte that the newest commit of a file uses, and return a report.

    The same as `Store.check` of the opened file. Of a store that is sealed as a whole, checksums
    are verified without a secret as well.

    Parameters
    ----------
    path : str or path object
        The file.
    secrets : secret, list of secrets, or dict of str to them, optional
        As for `kist.open`.
    progress : callable, optional
        Called with bytes done and bytes in all.

    Raises
    ------
    StoreNotFoundError, NotAStoreError, UnsupportedVersionError
        As `kist.open`.
    WrongSecretError
        The file is sealed under other secrets than those given.

    Examples
    --------
    >>> import kist, os
    >>> with kist.open("sealed.kist", "w", encrypt=os.urandom(32)) as store:
    ...     store["a"] = [1, 2, 3]
    >>> kist.check("sealed.kist").ok
    True
    """
    from kist.model.store import open

    given = secrets is not None
    try:
        with open(path, secrets=secrets) as store:
            return store.check(progress)
    except (TamperedDataError, WrongSecretError):
        raise
    except SecretError:
        if given or not os.path.isfile(path):
            raise
        found = _checked(path, progress)
        if found is None:
            raise
        return found
    finally:
        del secrets  # a traceback would show it


def _checked(path: str | os.PathLike[str], progress: Progress | None) -> CheckReport | None:
    from kist.engine.locked import check_locked
    from kist.storage import FileBackend

    backend = FileBackend(os.path.abspath(os.fspath(path)))
    try:
        found = check_locked(backend, progress)
        if found is None:
            return None
        locked, problems = found
        shown = locked.loaded.chain.state.shown
        listed = [Problem(one.where, one.message, None, one.offset) for one in problems]
        return CheckReport(listed, backend.name, shown, [_NOTE])
    finally:
        backend.close()


def sealed_info(path: str | os.PathLike[str]) -> Info | None:
    """Return what can be said of a sealed store without its secret; None of any other."""
    from kist.engine.locked import load_locked
    from kist.model.history import utc
    from kist.model.info import Info
    from kist.storage import FileBackend

    backend = FileBackend(os.path.abspath(os.fspath(path)))
    try:
        locked = load_locked(backend)
        if locked is None:
            return None
        loaded = locked.loaded
        state = loaded.chain.state
        return Info(
            f"Store {backend.name!r}, sealed",
            {
                "path": backend.name,
                "uuid": loaded.super.uuid,
                "created": utc(loaded.super.created_ns),
                "commit": state.shown,
                "committed": utc(state.time_ns),
                "sealed": {slot.label: _KINDS.get(slot.kind, "unknown") for slot in locked.slots},
                "total_bytes": backend.size(),
                "needs": "a secret for everything else",
            },
        )
    finally:
        backend.close()
