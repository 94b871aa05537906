"""One table made of others, without a copy; docs/design/0014-split-merge-links.md.

- `table` is what users hold. `members`: which tables of a store are meant. `state`: the table as
  one view shows it, on which all reading and asking of `kist.model.tables` works.
"""
