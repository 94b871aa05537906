"""One table made of others, or one array, without a copy; docs/design/0014-split-merge-links.md.

- `table` (of one store), `files` (of several) and `arrays` are what users hold.
- `members`: which datasets of a store are meant. `state`: the table as one view shows it, on which
  all reading and asking of `kist.model.tables` works. `backend`: several files as one.
  `categories`: their lists as one, and the codes of each in it.
"""
