"""Indexes: what tells where to look before any value is read.

- `text`: smallest and largest text of a page, cut to what a bound keeps.
- `statistics`: bounds and counts of one page, their record, and all pages of a column at once.

Columns are arrays here; nothing in this package knows tables or files.
"""

from __future__ import annotations
