"""Which rows are meant, in which order, and what is computed of them.

- `find` (rows of a condition), `bounds` (what statistics say of its columns), `sieve` (in several
  row groups at once) and `explain`; `steps` as the user said them, `rowset` what they make of the
  rows, `operands` what rows are sorted and grouped by, `texts` strings among that, as bytes.
- `sort`, and `shares` of rows that belong together, with `spill` for what is more than fits into
  memory.
- `aggregates` and `quantiles` of all rows; of groups `grouping`, `accumulators`, `collected`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.lazy import lazily

if TYPE_CHECKING:
    from kist.model.tables.query import aggregates, collected, find, quantiles, rowset, steps
else:
    __getattr__ = lazily(__name__)
