"""Expressions over whole arrays and columns, computed block by block: `kist.evaluate`.

- `operands`: what an expression is computed from, and how parts of it are read.
- `binding`: names and handles in an expression become operands.
- `computed`: the result, cut into parts that threads compute; it is read by slices, like an array.
- `reductions`: sums, means and extremes of it, along axes.
- `run`: `evaluate` itself, and where results go.
"""
