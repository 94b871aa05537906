"""What groups do with tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kist import model
from kist.errors import DTypeError, SelectionError
from kist.format.node import NodeKind
from kist.model.group_maker import Maker, held

if TYPE_CHECKING:
    from kist.model.tables.table import Table
    from kist.model.unions.arrays import ArrayUnion
    from kist.model.unions.table import Union

__all__ = ["TableMaker"]


class TableMaker(Maker):
    """The part of a group that makes and opens tables."""

    def create_table(
        self,
        name: str,
        data: Any = None,
        *,
        dtype: Any = None,
        fill_value: Mapping[str, Any] | None = None,
        codec: Any = "auto",
        title: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        encrypt: Any = None,
    ) -> Table:
        """Make a table, and the groups on the way to it, in one commit.

        Parameters
        ----------
        name : str
            Path of the table.
        data : optional
            Rows: a structured array, a list of tuples, a dict of columns, a DataFrame, an Arrow
            table, or any iterator together with `dtype`, which is read in blocks.
        dtype : dtype, optional
            Structured dtype of a row. Without data the table is empty. With columns of strings of
            any length, which NumPy allows in no structured dtype: a dict of names and dtypes, or a
            list of pairs, as in ``{"id": "i8", "name": np.dtypes.StringDType()}``.
        fill_value : dict, optional
            Column -> value of fields that later rows leave out.
        codec : str or dict
            ``"auto"`` chooses per column from a sample; ``"fast"``, ``"balanced"``, ``"small"``,
            an explicit codec, or a dict of them by column.
        title, attrs : optional
            Attributes of the table.
        overwrite : bool
            Replace a table of that name; handles to the old one become stale.
        encrypt : dict or secret, optional
            Columns that are sealed, and what opens them: ``{"name": secret}``. A tuple of columns
            shares one field; several secrets, as a list or a dict of labels, open the same field.
            A secret alone seals all columns. A secret is a key of 32 bytes, a passphrase, or a
            callable that asks a key service: see docs/encryption.md.

        Raises
        ------
        NodeExistsError
            Something stands there.
        DTypeError
            The dtype cannot be stored, or the data do not fit it.
        SecretError
            Something in `encrypt` is no secret; or a sealed table would be replaced by one that
            is not.
        """
        from kist.model.tables.table import Table, create_table

        sealed = None
        if encrypt is not None:
            from kist.model.tables.input.encrypt import Encrypt

            try:
                sealed = Encrypt(encrypt)
            finally:
                encrypt = None  # a traceback would show it
        with self._write() as txn:
            if overwrite and sealed is None:
                self._refuse_unsealing(txn, name)
            table = self._new(txn, name, NodeKind.TABLE, overwrite)
            assert isinstance(table, Table)
            self._keep_promises(txn, table, sealed)
            above = self._secret_above(txn, table, sealed)
            if above is not None:
                from kist.model.sealing.groups import INHERITED
                from kist.model.tables.input.encrypt import Encrypt

                sealed = Encrypt.of_all({INHERITED: above})
            create_table(
                table, txn, data, dtype=dtype, fill_value=fill_value, codec=codec, encrypt=sealed
            )
            model.attributes.copy_attributes(table, attrs, title)
        return table

    def open_table(self, name: str) -> Table:
        """Return a table that must exist.

        Raises
        ------
        NodeNotFoundError
            There is none, or something else stands there.
        """
        from kist.model.tables.table import Table

        return self._open_as(Table, name)

    def require_table(self, name: str, *, dtype: Any, **options: Any) -> Table:
        """Return a table of this dtype, making it when it is missing.

        Parameters
        ----------
        name : str
            Path of the table.
        dtype : dtype
            What the rows must be.
        **options
            For `create_table`; a table that exists keeps its own.

        Raises
        ------
        NodeExistsError
            Something else stands there.
        DTypeError
            The table that stands there has another dtype.
        SecretError
            A column of the table that stands there is not sealed, and ``encrypt=`` names it.
        """
        from kist.model.tables.input.dtype import row_dtype, schema_has
        from kist.model.tables.table import Table

        options = held(options)
        wanted = row_dtype(dtype, f"require {name!r}")
        node = self._require_as(
            Table, name, lambda: self.create_table(name, dtype=dtype, **options)
        )
        if not schema_has(node._state().schema, wanted):
            raise DTypeError(f"{node._path!r} has dtype {node.dtype}, not {wanted}")
        if options.get("encrypt") is not None:
            from kist.model.tables.input.encrypt import Encrypt

            Encrypt(options.pop("encrypt")).refuse_clear(node._path, node.sealed, node.columns)
        return node

    def union(self, *patterns: str) -> Union | ArrayUnion:
        """Return several tables as one, or several arrays; it holds nothing of its own.

        Parameters
        ----------
        *patterns : str
            Paths of datasets, or patterns of them: ``"trades/*"``; ``**`` stands for any groups.

        Raises
        ------
        NodeNotFoundError
            None matches.
        DTypeError, ShapeError
            The columns of tables differ (shows the difference), or dtypes and shapes of arrays
            beyond the first axis.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     store["day/1"], store["day/2"] = np.zeros(3, "i4,f8"), np.ones(2, "i4,f8")
        ...     store.union("day/*").where("f0 == 1").count()
        2
        """
        from kist.model.unions.members import find_members
        from kist.model.unions.table import Union

        if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise SelectionError("a union is of paths of tables, or patterns such as 'trades/*'")
        view = self._view()
        group: Any = self
        if find_members(view, self._id, group._base(view), patterns)[0].kind == NodeKind.ARRAY:
            from kist.model.unions.arrays import ArrayUnion, GroupArrays

            return ArrayUnion(GroupArrays(group, patterns))
        return Union(group, patterns)
