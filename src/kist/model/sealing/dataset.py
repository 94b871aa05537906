"""What handles of arrays and key stores offer where these are sealed as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kist.model import directory
from kist.model.node import Node

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.model.sealing.field import SealedField

__all__ = ["SealedDataset"]


class SealedDataset(Node):
    """Mixin of `Array` and `KeyStore`: the secrets of one that is sealed.

    A dataset is sealed when it is made: ``create_array(..., encrypt=secret)``. docs/encryption.md
    says against whom, and what can be seen all the same.
    """

    # For the classes of this package

    def _is_sealed(self, view: View) -> bool:
        """Tell whether a dataset is sealed."""
        raise TypeError("of arrays and key stores alone")

    def _field(self, view: View) -> SealedField:
        """Return the open field of one that is sealed."""
        raise TypeError("of arrays and key stores alone")

    def _reseal(self, txn: Transaction, before: SealedField, after: SealedField) -> None:
        """Seal all that is stored of it under the keys of another field."""
        raise TypeError("of arrays and key stores alone")

    def _sealed_field(self, view: View, what: str) -> SealedField:
        if not self._is_sealed(view):
            from kist.model.sealing.secrets import not_sealed

            raise not_sealed(self.kind, self._path, what)
        if directory.is_marked(view, self._id):
            from kist.model.sealing.secrets import of_its_group

            raise of_its_group(self.kind, self._path, what)
        return self._field(view)

    def _check_notes(self, view: View) -> Any:
        """Yield what `Store.check` cannot look into."""
        from kist.errors import SecretError, TamperedDataError

        if not self._is_sealed(view):
            return
        try:
            self._field(view)
        except TamperedDataError:
            return  # `_check_records` says so
        except SecretError:
            yield "sealed: checksums hold or are named above, tags were not checked"

    # For users

    @property
    def sealed(self) -> tuple[str, ...]:
        """Labels of the secrets that open it, none where it is not sealed.

        Needs no secret: labels stand in the file in clear.
        """
        view = self._view()
        if not self._is_sealed(view):
            return ()
        from kist.model.sealing.secrets import labels

        return labels(view, self._id)

    def add_secret(self, secret: Any, *, label: str | None = None) -> str:
        """Let one more secret open it, and return its label. No data are written.

        Parameters
        ----------
        secret : bytes, str or callable
            As for ``encrypt=`` when it is made.
        label : str, optional
            By which it is removed again; the next free number by default. Stands in the file in
            clear.

        Raises
        ------
        SecretError
            It is not open here, has 16 secrets, or has one of that label.
        DTypeError
            It is not sealed.

        Examples
        --------
        >>> import kist, os
        >>> with kist.open(":memory:") as store:
        ...     scans = store.create_array("scans", [1, 2, 3], encrypt=os.urandom(32))
        ...     scans.add_secret(os.urandom(32), label="backup")
        ...     scans.sealed
        'backup'
        ('1', 'backup')
        """
        from kist.model.sealing.secrets import add_secret

        try:
            with self._write() as txn:
                field = self._sealed_field(txn, "add a secret for")
                return add_secret(txn, field, secret, label)
        finally:
            del secret  # a traceback would show it

    def remove_secret(self, label: str) -> None:
        """Let a secret no longer open it; `rotate` locks out who had it.

        Who had the secret may have kept the key that it led to, and what an older version holds is
        opened by the secrets of then.

        Parameters
        ----------
        label : str
            Of the secret, as `sealed` lists it.

        Raises
        ------
        SecretError
            There is none of that label, it is the last one, or the dataset is not open here.
        DTypeError
            It is not sealed.
        """
        from kist.model.sealing.secrets import remove_secret

        with self._write() as txn:
            remove_secret(txn, self._sealed_field(txn, "remove a secret of"), label)

    def rotate(self, secrets: Any = None, *, now: bool = False) -> None:
        """Seal what is written from now on under a new key.

        Parameters
        ----------
        secrets : secret, list, or dict of labels and secrets, optional
            All secrets that shall open it from now on. Whoever had another one is locked out of
            what is written later. By default those that are there stay.
        now : bool, default False
            Seal again what is there too; else that happens as values are replaced. Older versions
            and tags keep what they have.

        Raises
        ------
        SecretError
            It is not open here.
        DTypeError
            It is not sealed.
        """
        try:
            with self._write() as txn:
                self._sealed_field(txn, "rotate the keys of")
                self._rotate(txn, secrets, now)
        finally:
            del secrets  # a traceback would show it

    def _rotate(self, txn: Transaction, secrets: Any, now: bool) -> None:
        from kist.model.sealing.secrets import rotated

        before = self._field(txn)
        before.verify_all()
        try:
            after = rotated(txn, before, secrets, forget=now)
        finally:
            del secrets  # a traceback would show it
        field = before.under(txn, after, renewed=now)
        if now:
            self._reseal(txn, before, field)
        field.bind_all(txn)
        field.vouch(txn)
