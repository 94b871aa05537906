"""What stands for an argument that was not given, where None is a value."""

from __future__ import annotations

from typing import Any

__all__ = ["NOT_GIVEN"]


class _NotGiven:
    def __repr__(self) -> str:
        return "not given"


NOT_GIVEN: Any = _NotGiven()
