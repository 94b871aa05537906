"""What reading around damage has in common for tables and arrays."""

from __future__ import annotations

import warnings
from typing import Any, Final

from kist.errors import DamageWarning

__all__ = ["check_errors", "warn_of_damage"]

_SHOWN: Final = 5


def check_errors(errors: Any) -> str:
    """Return what `errors=` asks for.

    Raises
    ------
    ValueError
        It is not known.
    """
    if errors not in ("raise", "mask"):
        raise ValueError(f"errors is 'raise' or 'mask', not {errors!r}")
    return str(errors)


def warn_of_damage(what: str, told: list[str]) -> None:
    """Say what is masked, if anything is."""
    if told:
        more = f"; and {len(told) - _SHOWN:,} more" if len(told) > _SHOWN else ""
        warnings.warn(
            f"{what}: masked because of damage: {'; '.join(told[:_SHOWN])}{more}",
            DamageWarning,
            stacklevel=3,
        )
