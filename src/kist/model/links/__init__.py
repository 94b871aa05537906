"""Links: nodes that lead to others, in this store or in other files; docs/design/0017-links.md.

- `link`: the handle of a link. `records`: where it leads, as the map holds it.
- `follow`: from a link to what it leads to. `files`: other files, and which may be opened.
"""
