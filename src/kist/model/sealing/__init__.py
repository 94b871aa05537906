"""Arrays, key stores and groups that are sealed as a whole: one field, whose secrets open it.

- `field`: opened in a view, its records held against the manifest; what changes is vouched for.
- `secrets`: made with the dataset, added, removed, rotated, handed over to a copy.
- `dataset`: what handles offer for it.
- `groups`: sealed groups, and the place that each node has in one. `grouplocks`: their secrets.
  `attributes`: those of such nodes. `borders`: what moves and copies may cross, and `check`.

The columns of tables have fields of their own, in `kist.model.tables`. docs/design/0018 and
0020 say why it is as it is.
"""
