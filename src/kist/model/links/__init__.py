"""Links: nodes that lead to others, in this store or in other files; docs/design/0017-links.md.

- `link`: the handle of a link. `records`: where it leads, as the map holds it. `make`: making them.
- `follow`: from a link to what it leads to. `files`: other files, and which may be opened.
- `table` and `parts`: tables of many files as one. `arrays`: arrays of many files. `gather`: what
  a link says of both. `array` and `foreign`: bytes of files of other formats. `linked`: what all
  of these have in common.
"""
