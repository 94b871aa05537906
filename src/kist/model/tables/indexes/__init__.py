"""Indexes of a table; docs/design/0008-indexes.md.

`index` shows them as one view has them, `keyparts` which columns their keys are of; `find` and
`order` ask them, `keep` and `unique` are called by each change of the rows. `sealed` has those on
sealed columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.lazy import lazily

if TYPE_CHECKING:
    from kist.model.tables.indexes import make, sealed
else:
    __getattr__ = lazily(__name__)
