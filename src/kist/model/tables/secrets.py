"""What tables offer for their sealed columns: which they are, and what opens them."""

from __future__ import annotations

from typing import Any

from kist.model import directory
from kist.model.tables import changes
from kist.model.tables.base import RowSource

__all__ = ["Secrets"]


class Secrets(RowSource):
    """Mixin of `Table`: the secrets of its sealed columns.

    Columns are sealed when the table is made: ``create_table(..., encrypt={"name": secret})``.
    docs/encryption.md says against whom, and what can be seen all the same.
    """

    __slots__ = ()

    @property
    def sealed(self) -> dict[str, tuple[str, ...]]:
        """The sealed columns, each with the labels of the secrets that open it.

        Needs no secret: labels stand in the file in clear.
        """
        state = self._state()
        return changes.secrets.labels(state) if state.schema.sealed else {}

    def _own(self, what: str) -> Any:
        """Return the table, unless its secrets are those of a group."""
        table = self._of()
        if directory.is_marked(table._view(), table._id):
            from kist.model.sealing.secrets import of_its_group

            raise of_its_group(table.kind, table._path, what)
        return table

    def add_secret(self, column: str, secret: Any, *, label: str | None = None) -> str:
        """Let one more secret open a sealed column, and return its label.

        Columns that were sealed together are opened by it as well. No data are written.

        Parameters
        ----------
        column : str
            A sealed column.
        secret : bytes, str or callable
            As for `create_table`.
        label : str, optional
            By which it is removed again; the next free number by default. Stands in the file in
            clear.

        Raises
        ------
        SecretError
            The field is not open here, has 16 secrets, or has one of that label.
        DTypeError
            The column is not sealed.

        Examples
        --------
        >>> import kist, numpy as np, os
        >>> with kist.open(":memory:") as store:
        ...     rows = np.array([(1, b"Ann"), (2, b"Bob")], "i4,S3")
        ...     t = store.create_table("t", rows, encrypt={"f1": os.urandom(32)})
        ...     t.add_secret("f1", os.urandom(32), label="backup")
        ...     t.sealed
        'backup'
        {'f1': ('1', 'backup')}
        """
        try:
            return changes.secrets.add_secret(self._own("add a secret for"), column, secret, label)
        finally:
            del secret  # a traceback would show it

    def remove_secret(self, column: str, label: str) -> None:
        """Let a secret no longer open a sealed column; `rotate` locks out who had it.

        Who had the secret may have kept the key that it led to, and what an older version holds is
        opened by the secrets of then.

        Parameters
        ----------
        column : str
            A sealed column.
        label : str
            Of the secret, as `sealed` lists it.

        Raises
        ------
        SecretError
            There is none of that label, it is the last one, or the field is not open here.
        """
        changes.secrets.remove_secret(self._own("remove a secret of"), column, label)

    def rotate(self, column: str | None = None, secrets: Any = None, *, now: bool = False) -> None:
        """Seal what is written from now on under a new key.

        Parameters
        ----------
        column : str, optional
            Of the field; all sealed fields by default.
        secrets : secret, list, or dict of labels and secrets, optional
            All secrets that shall open the field from now on. Whoever had another one is locked
            out of what is written later. By default those that are there stay.
        now : bool, default False
            Seal again what is there too; else that happens as rows are folded and changed. Older
            versions and tags keep what they have.

        Raises
        ------
        SecretError
            A field of the table is not open here.
        """
        try:
            changes.secrets.rotate(self._own("rotate the keys of"), column, secrets, now)
        finally:
            del secrets  # a traceback would show it
