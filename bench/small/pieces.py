"""How many small things a reader of a table has to merge."""

from __future__ import annotations

from typing import Any


def n_pieces(table: Any) -> int:
    """Pieces not yet folded into row groups, and patches not yet folded into either."""
    info: Any = table.info
    return int(info["pieces"]) + int(info["patches"])
