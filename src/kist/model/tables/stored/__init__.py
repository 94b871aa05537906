"""How the rows of a table stand in the file, and how they are read.

- `records` (their bytes), `schema`, `layout` (which row group has which positions), `state` (one
  table in one view) and `statistics`.
- `joined`: the view of a table that is made of others.
- `batch` and `rows`: rows on their way in and out of small pieces; `computed`: columns without
  values of their own.
- `fields` (which columns are meant), `read`, `single` (one row at a time), `masked` (around
  damage).
"""
