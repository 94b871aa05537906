"""Conditions and computed values over named columns.

From text to rows, lowest first:

- `literals`: which values may be constants, and how they are written. `functions`: which there are.
- `operators`, `expression`: the tree of an expression, its operators in Python and its text.
- `diagnostics`: messages that show the place in the text.
- `parser`: text to tree, by a whitelist over the syntax tree of Python; nothing is run.
- `nodes`: the typed tree that binding makes of it.
- `coerce`, `members`, `fold`: constants fitted to columns, and computed from each other.
- `integers`, `specialize`: in which dtype integers are computed so that they do not wrap around.
- `bind`: names resolved, dtypes checked; with `arithmetic`, `calls`, `callbacks` for its functions.
- `text`, `like`, `times`, `evaluate`: values of blocks of rows, in NumPy.
- `intervals`, `prune`: which pages may match, from their bounds.
- `bound`: `parse` and `Bound`, which the tables call; `narrow`, `utf8`: conditions on pages as they
  are encoded.

Columns are names and arrays here; nothing in this package knows tables or files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.lazy import lazily

if TYPE_CHECKING:
    from kist.query.bound import Bound, expr, parse
    from kist.query.expression import Expr, as_expr, between, column, isin, operation, where
    from kist.query.operators import Operators
else:
    __getattr__ = lazily(
        __name__,
        Bound="bound",
        Expr="expression",
        Operators="operators",
        as_expr="expression",
        between="expression",
        column="expression",
        expr="bound",
        isin="expression",
        operation="expression",
        parse="bound",
        where="expression",
    )

__all__ = [
    "Bound",
    "Expr",
    "Operators",
    "as_expr",
    "between",
    "column",
    "expr",
    "isin",
    "operation",
    "parse",
    "where",
]
