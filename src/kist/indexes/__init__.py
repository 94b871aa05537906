"""Indexes: what tells where to look before any value is read.

- `text`: smallest and largest text of a page, cut to what a bound keeps.
- `statistics`: bounds and counts of one page, their record, and all pages of a column at once.
- `keys`: values as words that sort like them. `runs`: sorted keys and the rows they are of.

Columns are arrays here, and rows are row ids; nothing in this package knows tables.
"""

from __future__ import annotations
