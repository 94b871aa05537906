"""Modules and names of packages that are loaded when they are first used.

Handles have many methods, and a program uses few of them. Where ``table.py`` says
``changes.upsert.upsert_rows(...)``, the module `upsert` and what it needs are loaded at that call;
reading one row loads none of them. tests/test_loaded.py holds what small tasks load.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

__all__ = ["lazily"]


def lazily(package: str, **homes: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package (PEP 562).

    Parameters
    ----------
    package : str
        Its ``__name__``.
    **homes : str
        Name -> the module of the package that it lives in. Any other name is a module itself.

    Notes
    -----
    Type checkers read the imports that the package makes ``if TYPE_CHECKING``.
    """

    def __getattr__(name: str) -> Any:
        home = homes.get(name)
        module = f"{package}.{home or name}"
        try:
            found: Any = importlib.import_module(module)  # a module is bound by its import
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        if home is not None:
            found = getattr(found, name)
            setattr(importlib.import_module(package), name, found)  # asked once
        return found

    return __getattr__
