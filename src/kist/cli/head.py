"""``kist head``: the first rows of a table, elements of an array, keys of a key store."""

from __future__ import annotations

from kist.cli.common import examples
from kist.cli.ends import end_verb

__all__ = ["head"]

head = end_verb(
    "head",
    "first",
    examples("kist head lab.kist:market/trades", "kist head -n 3 lab.kist:raw/images"),
)
