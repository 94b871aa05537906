"""Tables: rows of named columns, stored by column in row groups.

Beside this page stands what users touch: `table`, `column`, `selection`, `row`, `appender`,
`groupby`; what the first three share is in `base`, `queries` (steps that give selections),
`reductions` (numbers), `changing`, `altering` and `indexed` (what tables offer for changing rows,
columns and indexes); how they look is in `repr` and `show`, what others call what they do in
`spellings`; `check` holds the records against each other. Below it:

- `stored`: how rows stand in the file, and how they are read. It knows nothing of the others.
- `query`: which rows are meant, in which order, and what is computed of them; `indexes`: sorted
  keys beside the rows, which it asks, and which ask it for the rows they do not cover.
- `input`: what users give, as dtypes and values.
- `changes`: rows written, changed, deleted and folded; columns that come and go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.lazy import lazily

if TYPE_CHECKING:
    from kist.model.tables import (
        appender,
        changes,
        check,
        codes,
        column,
        input,
        query,
        repr,
        row_loop,
        selection,
        show,
        spellings,
        stored,
    )
else:
    __getattr__ = lazily(__name__)
