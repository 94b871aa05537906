"""What users hold: stores, groups, tables, and what is read from them.

- `store`: `open` and the open file. `group`: names of nodes. `node`: what all nodes share.
- `attributes`: small named values on nodes and columns.
- `paths`: which names are allowed. `directory`: the hierarchy as records of the map.
- `session`: who sees which state, and whose turn it is to write. `transactions`: the blocks of
  it that users write. `history`: commits and tags.
- `table`, `column`, `selection`: rows and columns. `casts`: values to columns, checked.
- `info`, `tree`, `check`: what a store says about itself. `handles`: handles across processes.
"""
