"""``kist tail``: the last rows of a table, elements of an array, keys of a key store."""

from __future__ import annotations

from kist.cli.common import examples
from kist.cli.ends import end_verb

__all__ = ["tail"]

tail = end_verb(
    "tail",
    "last",
    examples("kist tail lab.kist:market/trades", "kist tail -n 1 lab.kist:market/trades --json"),
)
