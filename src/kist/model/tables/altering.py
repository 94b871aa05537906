"""What tables offer for changing their columns; `changes.columns` does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kist.model.tables import changes
from kist.model.tables.base import RowSource
from kist.model.tables.input.given import NOT_GIVEN

if TYPE_CHECKING:
    from kist.model.tables.column import Column

__all__ = ["Altering"]


class Altering(RowSource):
    """Mixin of `Table`: its columns come, go and change.

    Each call is one commit, or one step of the open transaction; when it raises nothing is changed.
    """

    __slots__ = ()

    def add_column(
        self,
        name: str,
        data: Any = None,
        dtype: Any = None,
        *,
        virtual: bool = False,
        position: int | None = None,
        fill_value: Any = NOT_GIVEN,
        codec: str = "auto",
        attrs: Mapping[str, Any] | None = None,
    ) -> Column:
        """Add a column, and return it.

        Parameters
        ----------
        name : str
            Its name.
        data : optional
            One value for all rows: nothing is written for them, however many there are. Or a
            value for each: an array, a list, a column, or an iterator of arrays, which is read in
            blocks. Or an expression, ``kist.expr("bid + ask")`` or ``t["bid"] + t["ask"]``: the
            column is computed, and stays current when rows are appended or changed.
        dtype : dtype-like, optional
            Needed for text as a constant. A dtype in second place, with nothing behind it, counts
            as this: ``add_column("mid", "f8", fill_value=0)``.
        virtual : bool, default False
            Store nothing: evaluate the expression, which may be given as text, on each reading.
        position : int, optional
            Place among the columns, as in `list.insert`; the last one by default.
        fill_value : optional
            Value for new rows that do not give one; for the rows that are there too if `data` is
            not given. By default the constant.
        codec : str, default "auto"
            As in `create_table`.
        attrs : mapping, optional
            Attributes of the column.

        Raises
        ------
        DTypeError
            The name is taken, or a value does not fit the dtype.
        QueryError
            The expression names what is no column, or none.
        ShapeError
            The number of values is not that of the rows.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     t = store.create_table("t", np.array([(1, 2.0), (3, 5.0)], "i4,f8"))
        ...     _ = t.add_column("flag", False)
        ...     _ = t.add_column("sum", kist.expr("f0 + f1"), virtual=True)
        ...     t.append((5, 6.0, True))
        ...     t[:]
        1
        array([(1, 2., False,  3.), (3, 5., False,  8.), (5, 6.,  True, 11.)],
              dtype=[('f0', '<i4'), ('f1', '<f8'), ('flag', '?'), ('sum', '<f8')])
        """
        return changes.columns.add_column(
            self._of(),
            name,
            data,
            dtype,
            virtual=virtual,
            position=position,
            fill_value=fill_value,
            codec=codec,
            attrs=attrs,
        )

    def drop_column(self, name: str) -> None:
        """Remove a column with its values and attributes.

        Its space comes back once no older version or tag shows it.

        Raises
        ------
        ColumnNotFoundError
            There is no such column.
        DTypeError
            It is the last one, or others are computed from it.
        """
        changes.columns.drop_column(self._of(), name)

    def rename_column(self, name: str, new_name: str) -> None:
        """Give a column another name; its attributes, and what is computed from it, follow.

        Raises
        ------
        ColumnNotFoundError
            There is no such column.
        DTypeError
            The new name is taken.
        """
        changes.columns.rename_column(self._of(), name, new_name)

    def cast_column(self, name: str, dtype: Any, *, unsafe: bool = False) -> None:
        """Give a column another dtype; all its values are written again.

        Parameters
        ----------
        unsafe : bool, default False
            Cast as NumPy's ``astype`` does: cut text, drop fractions, wrap integers.

        Raises
        ------
        DTypeError
            A value would lose something, or what is computed from the column no longer fits.
        """
        changes.columns.cast_column(self._of(), name, dtype, unsafe=unsafe)

    def reorder(self, names: Sequence[str]) -> None:
        """Put the columns into another order; only the schema is written.

        Parameters
        ----------
        names : sequence of str
            All columns, each once.

        Raises
        ------
        ColumnNotFoundError
            There is no such column.
        DTypeError
            A column is missing or named twice.
        """
        changes.columns.reorder(self._of(), names)
