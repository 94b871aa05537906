"""What tables offer for indexes: making, dropping and listing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.model.tables import indexes
from kist.model.tables.base import RowSource

if TYPE_CHECKING:
    from kist.model.tables.indexes.make import TableIndex

__all__ = ["Indexed"]


class Indexed(RowSource):
    """Mixin of `Table`: its indexes."""

    __slots__ = ()

    def create_index(
        self, *columns: str, name: str | None = None, unique: bool = False
    ) -> TableIndex:
        """Make an index on a column, or on several together.

        From then on it is kept current by every change, and used where it helps: by conditions
        on its columns (``==``, ``<``, ``isin``, ``between``, a prefix), and by ``sort_by``. It
        never changes a result.

        Parameters
        ----------
        *columns : str
            The most significant first: an index on ``"a", "b"`` also serves conditions on ``a``.
        name : str, optional
            By default the columns with commas between them.
        unique : bool
            Refuse rows with a key that another row has. Missing values (NaN, NaT, missing
            strings) are equal to nothing.

        Raises
        ------
        ColumnNotFoundError
            There is no such column.
        DTypeError
            The values of a column have no order, or several of them stand in a row.
        NodeExistsError
            There is an index of that name.
        ConstraintError
            Rows have the same key, and the index is to be unique; names them.

        Notes
        -----
        Costs a sort of the column, and takes 4 bytes a row and the compressed keys.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     store["t"] = np.array([(7, 2.5), (3, 3.5), (5, 4.5)], [("a", "i4"), ("b", "f8")])
        ...     t = store["t"]
        ...     index = t.create_index("a", unique=True)
        ...     t.where("a == 5")["b"][:], [index.name for index in t.indexes]
        (array([4.5]), ['a'])
        """
        return indexes.make.create_index(self._of(), columns, name, unique)

    def drop_index(self, *columns: str) -> None:
        """Remove an index; its space comes back.

        Parameters
        ----------
        *columns : str
            Its columns, or its name.

        Raises
        ------
        NodeNotFoundError
            There is no such index.
        """
        indexes.make.drop_index(self._of(), columns)

    @property
    def indexes(self) -> tuple[TableIndex, ...]:
        """The indexes of the table, in the order in which they were made."""
        return indexes.make.list_indexes(self._of())
