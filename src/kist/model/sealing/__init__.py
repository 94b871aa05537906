"""Arrays and key stores that are sealed as a whole: one field, whose secrets open all of it.

- `field`: opened in a view, its records held against the manifest; what changes is vouched for.
- `secrets`: made with the dataset, added, removed, rotated, handed over to a copy.
- `dataset`: what handles offer for it.

The columns of tables have fields of their own, in `kist.model.tables`. docs/design/0018 says why it
is as it is.
"""
