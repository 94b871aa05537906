"""Libraries that an extra of kist brings."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["integration", "need"]


def need(module: str, extra: str, what: str) -> Any:
    """Import a library that an extra brings.

    Raises
    ------
    ImportError
        It is missing; names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{what}: this needs {module}: pip install 'kist[{extra}]'", name=module
        ) from error


def integration(name: str) -> Any:
    """Return a module of `kist.integrations`.

    For methods of the model that lead there, ``table.to_dask()``: what is below a room is not
    imported by it, but loaded when a user asks for it.
    """
    return importlib.import_module(f"kist.integrations.{name}")
