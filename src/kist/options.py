"""What a user may set for the whole process.

``n_threads``, ``max_load``, ``max_memory`` and ``cache_bytes``.

The module is its own settings object: reading and assigning its attributes goes through
checked properties. Use it as ``from kist import options`` and ``options.n_threads``; a
``from kist.options import n_threads`` would freeze the value of that moment.
"""

from __future__ import annotations

import operator
import os
import sys
import types

# All are properties of the module's class below; the annotations tell type checkers.
n_threads: int
max_load: int
max_memory: int
cache_bytes: int

# 4 GiB: more than a slice asked for by hand, less than what makes a laptop swap.
_DEFAULT_MAX_LOAD = 4 << 30

# Sorting 20M rows by a number and keeping all else below 500 MB.
_DEFAULT_MAX_MEMORY = 256 << 20

# A slice of some columns of a hundred remote stores.
_DEFAULT_CACHE_BYTES = 1 << 30


def _default_n_threads() -> int:
    # Asked at every read, not once: a child may be pinned to fewer cores than its parent.
    # A multiprocessing child always has this module loaded; others need not pay for it.
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        return 1  # its siblings use the other cores
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _positive_int(name: str, value: object) -> int:
    # bool is an int to Python, but `n_threads = True` is a mistake.
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"options.{name} is an int, not {type(value).__name__}")
    number = operator.index(value)
    if number < 1:
        raise ValueError(f"options.{name} must be at least 1, not {number}")
    return number


def reset() -> None:
    """Give every option its default again."""
    _values.clear()


class _Options(types.ModuleType):
    @property
    def n_threads(self) -> int:
        """Threads for work on pages; by default the cores this process may use.

        In a child of `multiprocessing` the default is 1.
        """
        value = _values.get("n_threads")
        return _default_n_threads() if value is None else value

    @n_threads.setter
    def n_threads(self, value: int) -> None:
        _values["n_threads"] = _positive_int("n_threads", value)

    @property
    def max_load(self) -> int:
        """Most bytes that ``np.asarray(handle)`` loads without being asked; 4 GiB by default."""
        return _values.get("max_load", _DEFAULT_MAX_LOAD)

    @max_load.setter
    def max_load(self, value: int) -> None:
        _values["max_load"] = _positive_int("max_load", value)

    @property
    def max_memory(self) -> int:
        """Bytes that a query keeps in memory beside its result; 256 MiB by default.

        A sort of more than that goes through a temporary file. A group-by with more groups, or
        distinct rows that take more, raise `TooLargeError`.
        """
        return _values.get("max_memory", _DEFAULT_MAX_MEMORY)

    @max_memory.setter
    def max_memory(self, value: int) -> None:
        _values["max_memory"] = _positive_int("max_memory", value)

    @property
    def cache_bytes(self) -> int:
        """Bytes on disk of a folder given as ``kist.open(url, cache=...)``; 1 GiB by default."""
        return _values.get("cache_bytes", _DEFAULT_CACHE_BYTES)

    @cache_bytes.setter
    def cache_bytes(self, value: int) -> None:
        _values["cache_bytes"] = _positive_int("cache_bytes", value)

    def __setattr__(self, name: str, value: object) -> None:
        # A misspelt option would otherwise be set and never read.
        if name not in _NAMES and not name.startswith("__"):
            raise AttributeError(f"no option {name!r}; there are {', '.join(_NAMES)}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)}" for name in reversed(_NAMES))
        return f"kist.options({values})"


_NAMES = ("cache_bytes", "max_memory", "max_load", "n_threads")
_values: dict[str, int] = {}

# The import system binds the module as ``kist.options``, whatever the package itself
# would like to put there. Giving the module a class is the documented way to have
# properties on it: Python reference, "Customizing module attribute access".
sys.modules[__name__].__class__ = _Options
