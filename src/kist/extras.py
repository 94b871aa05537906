"""Libraries that an extra of kist brings."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["need"]


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
