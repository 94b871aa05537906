"""Rows written, changed and deleted, and columns that come and go.

- `write` appends, by `pages` (whole row groups) or as pieces; `fold` makes larger ones of small
  ones, and of groups that are `sparse`.
- `change` patches rows and deletes them; `update` and `upsert` stand on it.
- `rewrite` writes values of columns that a table did not have; `column_checks` and `column_values`
  serve it.
"""
