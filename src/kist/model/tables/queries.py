"""Steps that tables, columns and selections offer; each gives a new selection and reads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from kist.errors import SelectionError
from kist.model import tables
from kist.model.tables import query

if TYPE_CHECKING:
    from kist.model.tables.groupby import GroupBy
    from kist.model.tables.query.steps import Step
    from kist.model.tables.selection import Selection
    from kist.query import Expr

__all__ = ["Queries"]


class Queries:
    """Mixin of what has rows that can be selected, sorted and grouped."""

    __slots__ = ()

    def _then(self, *steps: Step) -> Selection:
        """Return these rows with further steps."""
        raise TypeError(f"{type(self).__name__} has no rows")

    def _shown(self) -> list[str]:
        """Return the names of the columns shown."""
        raise TypeError(f"{type(self).__name__} has no columns")

    def __getattr__(self, name: str) -> NoReturn:
        raise tables.spellings.no_attribute(self, name, self._shown)

    def _all_params(self) -> dict[str, Any]:
        """Return the parameters of the conditions so far, which later expressions may name."""
        return {}

    def where(
        self,
        expression: str | Expr | Any,
        params: Mapping[str, Any] | None = None,
        /,
        **more: Any,
    ) -> Selection:
        """Return the rows where a condition holds; nothing is read yet.

        Parameters
        ----------
        expression : str, expression or callable
            ``"(price > limit) & (sym == 'AAPL')"``, or what ``table["price"] > 100`` builds, or a
            function of blocks: ``lambda block: block["price"] > 100``. It may name any column of
            the table. What may stand in a text: docs/howto/expressions.md.
        params, **more
            Values of the names that are not columns; may be columns of the table.

        Raises
        ------
        QueryError
            An unknown name or function, or dtypes that do not fit; points at the place.
        """
        if not isinstance(expression, str):
            from kist.query import as_expr

            expression = as_expr(expression)
        return self._then(query.steps.Where(expression, {**(params or {}), **more}))

    def sort_by(self, *by: Any, descending: bool | Sequence[bool] = False) -> Selection:
        """Return the rows sorted by some columns; rows that are equal in all stay in their order.

        Parameters
        ----------
        *by : str, column or expression
            The most significant first; a list is taken apart. A column sorts by itself.
        descending : bool or list of bool
            For all, or for each of them. NaN, NaT and missing values are last either way.

        Notes
        -----
        With ``limit(k)`` behind it only the best `k` rows are kept while the keys are read, and
        pages that cannot hold any of them are not read. All rows of a table come in the order of
        an index on these columns, if there is one; ``explain()`` tells. Rows that take more than
        `kist.options.max_memory` are sorted through a temporary file.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     store["t"] = np.array([(1, 2.5), (2, 4.5), (3, 3.5)], [("a", "i4"), ("b", "f8")])
        ...     t = store["t"]
        ...     t.sort_by("b", descending=True).limit(2)["a"][:]
        array([2, 3], dtype=int32)
        """
        if not by and len(self._shown()) == 1:
            by = tuple(self._shown())
        return self._then(
            query.steps.SortBy(query.steps.sort_keys(by, descending), self._all_params())
        )

    def limit(self, n: int, offset: int = 0) -> Selection:
        """Return the first `n` rows, after leaving out `offset` of them."""
        return self._then(query.steps.Limit(_number(n, "limit"), _number(offset, "offset")))

    def head(self, n: int = 5) -> Selection:
        """Return the first `n` rows; pandas' and polars' name for `limit`."""
        return self.limit(n)

    def tail(self, n: int = 5) -> Selection:
        """Return the last `n` rows, in their order."""
        return self._then(query.steps.Tail(_number(n, "tail")))

    def sample(self, n: int, seed: int | None = None) -> Selection:
        """Return `n` rows drawn at random, each at most once, in their order.

        All rows when there are fewer.

        Parameters
        ----------
        n : int
            How many.
        seed : int, optional
            The same seed draws the same rows of the same table. Without one it is drawn now, so
            that one selection shows the same rows whenever it is read.
        """
        if seed is None:
            import secrets

            seed = secrets.randbits(63)
        else:
            seed = _number(seed, "seed")
        return self._then(query.steps.Sample(_number(n, "sample"), seed))

    def distinct(self, *names: str) -> Selection:
        """Return the first row with each combination of values.

        Parameters
        ----------
        *names : str
            Columns that count; all that are shown by default. A list is taken apart.

        Notes
        -----
        NaN equals NaN here. The distinct values must fit into `kist.options.max_memory`, else
        `TooLargeError` is raised when the rows are read.
        """
        if len(names) == 1 and isinstance(names[0], (list, tuple)):
            names = tuple(names[0])
        for name in names:
            if not isinstance(name, str):
                raise SelectionError(f"distinct takes names of columns, not {name!r}")
        return self._then(query.steps.Distinct(names or tuple(self._shown())))

    def group_by(self, *keys: Any, ddof: float = 0, skipna: bool = False, **named: Any) -> GroupBy:
        """Return the rows in groups of equal keys, for ``.agg(...)``.

        Parameters
        ----------
        *keys : str, column or expression
            What is equal within a group; a list is taken apart.
        ddof : float
            ``std`` and ``var`` divide by n - `ddof`.
        skipna : bool
            Leave NaN and NaT out of what is computed.
        **named : str, column or expression
            Further keys, under names of your own: ``hour=kist.expr("time // 3600")``.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     rows = [("b", 1.5), ("a", 2.0), ("b", 2.5)]
        ...     store["t"] = np.array(rows, [("s", "S1"), ("x", "f8")])
        ...     store["t"].group_by("s").agg({"x": ["mean", "max"]})
        array([(b'a', 2., 2. ), (b'b', 2., 2.5)],
              dtype=[('s', 'S1'), ('x_mean', '<f8'), ('x_max', '<f8')])
        """
        from kist.model.tables.groupby import GroupBy

        if len(keys) == 1 and isinstance(keys[0], list | tuple):
            keys = tuple(keys[0])
        pairs = [(key if isinstance(key, str) else _name_of(key), key) for key in keys]
        pairs += list(named.items())
        return GroupBy(self._then(), pairs, ddof=ddof, skipna=skipna)

    def partitions(self, rows: int | None = None) -> list[Selection]:
        """Return the rows as selections of neighbouring ones, to be read by several workers.

        Each can be pickled, and shows the same commit wherever it is read, as long as that is kept.
        Parts in which no row can be are left out.

        Parameters
        ----------
        rows : int, optional
            Of a part, at most; about a million by default. Parts end where row groups end.

        Raises
        ------
        SelectionError
            The rows are sorted, limited or the like.
        """
        from kist.model.tables.partitions import partitions

        return partitions(self._then(), rows)


def _name_of(key: Any) -> str:
    return str(getattr(key, "name", None) or repr(key))


def _number(value: Any, what: str) -> int:
    if isinstance(value, bool | np.bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} is an int, not {type(value).__name__}")
    number = int(value.__index__())
    if number < 0:
        raise ValueError(f"{what} must not be negative, not {number}")
    return number
