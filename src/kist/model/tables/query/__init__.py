"""Which rows are meant, in which order, and what is computed of them.

- `find` (rows of a condition) and `explain`; `steps` as the user said them, `rowset` what they make
  of the rows, `operands` what rows are sorted and grouped by.
- `sort`, with `spill` for what is more than fits into memory.
- `aggregates` of all rows; of groups `grouping`, `accumulators`, `collected`.
"""
