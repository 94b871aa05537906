"""DataFrames and Arrow data, in and out of tables. Their libraries are imported when asked for.

- In: `incoming` finds out who brings what; `pandas_columns`, `pandas_in`, `arrow_in`, `arrow_text`.
- Out: `exports`; `pandas_out`, `arrow_out`.
- `notes`: what is kept beside a table to give an object back as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.lazy import lazily

if TYPE_CHECKING:
    from kist.model.frames import incoming, notes
else:
    __getattr__ = lazily(__name__)
