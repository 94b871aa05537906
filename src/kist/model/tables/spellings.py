"""What pandas, Polars and PyTables call what tables, columns and selections have by another name.

An attribute that is missing is answered with the name that it has here; a column's name with how
columns are reached. Nothing is read, except for the names of the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from kist.model.completing import completions
from kist.model.tables.query.operands import nearest

__all__ = ["no_attribute"]

_INDEX: Final = "rows are taken by t[3], t[3:2000] or t[[3, 100]], columns by t['a']"
_WHERE: Final = "rows by condition are t.where('(a > low) & (b == 2)', low=1)"
_GROUPS: Final = "groups are t.group_by('a').agg(total=('b', 'sum'))"
_SORT: Final = "rows in order are t.sort_by('a', descending=True), the first of them .limit(10)"
_ADD: Final = "a column is added by t.add_column('c', kist.expr('a * 2'))"
_UPDATE: Final = "values are changed by t.where('a > 1').update({'b': 0})"
_DELETE: Final = "rows are deleted by t.where('a > 1').delete()"
_LOOP: Final = "rows one by one are `for row in t`, many at a time `for block in t.blocks()`"
_NULLS: Final = "rows without a value are t.where('isnull(a)')"
_DISTINCT: Final = "values without repeats are t.distinct('a')"
_REDUCE: Final = "numbers are of one column, t['a'].sum(), or of groups, t.group_by('b').agg(...)"
_JOIN: Final = "tables are joined by other tools: t.to_pandas(), t.to_arrow() or t.to_polars()"

_HINTS: Final[dict[str, str]] = {
    **dict.fromkeys(("loc", "iloc", "at", "iat", "take", "select", "read_coordinates"), _INDEX),
    **dict.fromkeys(
        ("query", "filter", "mask", "read_where", "get_where_list", "itersequence"), _WHERE
    ),
    **dict.fromkeys(("groupby", "agg", "aggregate", "pivot_table", "value_counts"), _GROUPS),
    **dict.fromkeys(("sort_values", "sort", "sort_index", "order_by", "argsort"), _SORT),
    **dict.fromkeys(("nlargest", "nsmallest", "top_k", "itersorted", "read_sorted"), _SORT),
    **dict.fromkeys(("assign", "with_columns", "with_column", "insert_column"), _ADD),
    **dict.fromkeys(
        ("modify_rows", "modify_column", "modify_columns", "modify_coordinates"), _UPDATE
    ),
    **dict.fromkeys(("remove_rows", "remove_row", "delete_rows"), _DELETE),
    **dict.fromkeys(("iterrows", "itertuples", "iter_rows", "rows"), _LOOP),
    **dict.fromkeys(("isna", "notna", "dropna", "is_null", "is_not_null", "drop_nulls"), _NULLS),
    **dict.fromkeys(("drop_duplicates", "unique", "duplicated"), _DISTINCT),
    **dict.fromkeys(("merge", "join"), _JOIN),
    **dict.fromkeys(("sum", "mean", "min", "max", "std", "var", "median", "describe"), _REDUCE),
    **dict.fromkeys(("any", "all", "argmin", "argmax", "nunique", "quantile"), _REDUCE),
    "histogram": _REDUCE,
    "drop": "columns go by t.drop_column('a'), rows by t.where('a > 1').delete()",
    "rename": "columns are renamed by t.rename_column('a', 'b')",
    "astype": "columns are cast by t.cast_column('a', 'f8'), arrays by t['a'][:].astype('f8')",
    "cols": "columns are t['a'], their names t.colnames",
    "col": "columns are t['a'], their names t.colnames",
    "count": "the number of rows is len(t), of those that meet a condition t.where(...).count()",
    "values": "the rows are t[:], the values of a column t['a'][:]",
    "explain": "what a query reads is t.where(...).explain()",
    "flush": "changes are durable when they return; several are one in `with store.transaction():`",
    "row": "rows are added by t.append(rows), one by one by `with t.appender() as add: add(row)`",
}


def no_attribute(of: object, name: str, columns: Callable[[], Iterable[str]]) -> AttributeError:
    """Return the error for an attribute that is missing, with what is meant where that is known."""
    kind = type(of).__name__
    text = f"{kind!r} object has no attribute {name!r}"
    if name.startswith("_"):
        return AttributeError(text, name=name, obj=of)
    if name in _HINTS:
        text += f"; {_HINTS[name]}"
    elif name in completions(columns):
        text += f"; columns are reached by t[{name!r}]"
    else:
        text += nearest(name, (one for one in dir(type(of)) if one[0] != "_"))
    return AttributeError(text, name=name, obj=of)
