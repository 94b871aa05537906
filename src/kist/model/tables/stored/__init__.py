"""How the rows of a table stand in the file, and how they are read.

- `records` (their bytes), `schema`, `layout` (which row group has which positions), `state` (one
  table in one view) and `statistics`.
- `joined`: the view of a table that is made of others.
- `batch` and `rows`: rows on their way in and out of small pieces; `computed`: columns without
  values of their own.
- `fields` (which columns are meant), `read`, `encoded` (pages left as they are), `single` (one row
  at a time), `masked` (around damage).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.lazy import lazily

if TYPE_CHECKING:
    from kist.model.tables.stored import categories, schema
else:
    __getattr__ = lazily(__name__)
