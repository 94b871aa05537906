"""Splitting a dataset into files of its own, and merging such files into one.

docs/design/0014-split-merge-links.md gives the reasons. What lies wholly inside a part is copied as
bytes, verified on the way; only what a cut goes through is decoded.

- `split` and `merge` are what users call; `bycolumn` cuts a table by the values of a column.
- `tablesink`, `arraysink`, `keysink`: a new dataset that is filled with pieces of others.
- `origin`: what a part says of where it comes from, and which parts overlap. `unequal`: what tells
  two schemas apart. `sealedfields`: the keys of sealed columns, which go along; `sealedwhole`:
  those of sealed arrays and key stores, and the sink of the latter.
- `files`: new stores that get their names together, or not at all.
"""
