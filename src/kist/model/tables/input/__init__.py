"""What users give: `dtype`, `infer` (a dtype from data), `values` (rows and items), `column`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.lazy import lazily

if TYPE_CHECKING:
    from kist.model.tables.input import dtype, given, values
else:
    __getattr__ = lazily(__name__)
