"""Indexes of a table; docs/design/0008-indexes.md.

`index` shows them as one view has them, `find` and `order` ask them, `keep` and `unique` are called
by each change of the rows.
"""
