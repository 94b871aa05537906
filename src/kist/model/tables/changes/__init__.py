"""Rows written, changed and deleted, and columns that come and go.

- `write` appends, by `pages` (whole row groups) or as pieces, `few` rows at once; `fold` makes
  larger ones of small ones, and of groups that are `sparse`.
- `change` patches rows and deletes them; `update` and `upsert` stand on it.
- `manifests` vouches for what was changed of a table with sealed fields; `secrets` gives those
  fields other secrets and keys.
- `rewrite` writes values of columns that a table did not have; `column_checks` and `column_values`
  serve it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.lazy import lazily

if TYPE_CHECKING:
    from kist.model.tables.changes import (
        change,
        column_checks,
        columns,
        few,
        insert,
        manifests,
        secrets,
        update,
        upsert,
        write,
    )
else:
    __getattr__ = lazily(__name__)
