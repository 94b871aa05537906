"""What groups offer where they are sealed: who opens them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kist.model import directory
from kist.model.group_maker import Maker

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = ["GroupSecrets"]


class GroupSecrets(Maker):
    """The part of a group that has to do with its secrets.

    A group is sealed when it is made: ``create_group(..., encrypt=secret)``. Its secrets open all
    that stands below it; docs/encryption.md says what can be seen all the same.
    """

    def _sealed_place(self, txn: Transaction, what: str) -> None:
        """Raise unless this group itself is sealed."""
        from kist.errors import DTypeError, SecretError
        from kist.model.sealing import groups

        group = groups.group_of(txn, self._id)
        if group is None:
            raise DTypeError(
                f"{what} {self._path!r}: the group is not sealed. Make a new one with "
                "create_group(..., encrypt=) and write into it what shall be sealed"
            )
        if group != self._id:
            raise SecretError(
                f"{what} {self._path!r}: it stands in the sealed group "
                f"{directory.path_of(txn, group)!r}, which has the secrets"
            )

    @property
    def sealed(self) -> tuple[str, ...]:
        """Labels of the secrets that open the group and all below it, none where it is not sealed.

        Of a group below a sealed one those of that. Needs no secret: labels stand in the file in
        clear.
        """
        view = self._view()
        if not directory.is_marked(view, self._id):
            return ()
        from kist.model.sealing import groups

        group = groups.group_of(view, self._id)
        return () if group is None else groups.labels(view, group)

    def add_secret(self, secret: Any, *, label: str | None = None) -> str:
        """Let one more secret open the group, and return its label. No data are written.

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
        ...     ward = store.create_group("ward", encrypt=os.urandom(32))
        ...     ward.add_secret(os.urandom(32), label="backup")
        ...     ward.sealed
        'backup'
        ('1', 'backup')
        """
        from kist.model.sealing import grouplocks

        try:
            with self._write() as txn:
                self._sealed_place(txn, "add a secret for")
                return grouplocks.add_secret(txn, self._id, secret, label)
        finally:
            del secret  # a traceback would show it

    def remove_secret(self, label: str) -> None:
        """Let a secret no longer open the group; `rotate` locks out who had it.

        Parameters
        ----------
        label : str
            Of the secret, as `sealed` lists it.

        Raises
        ------
        SecretError
            There is none of that label, it is the last one, or the group is not open here.
        DTypeError
            It is not sealed.
        """
        from kist.model.sealing import grouplocks

        with self._write() as txn:
            self._sealed_place(txn, "remove a secret of")
            grouplocks.remove_secret(txn, self._id, label)

    def rotate(self, secrets: Any = None, *, now: bool = False) -> None:
        """Seal what is written below from now on under new keys; attributes at once.

        Parameters
        ----------
        secrets : secret, list, or dict of labels and secrets, optional
            All secrets that shall open the group from now on. Whoever had another one is locked
            out of what is written later. By default those that are there stay.
        now : bool, default False
            Seal again all datasets below too; else that happens as values are replaced. Older
            versions and tags keep what they have.

        Raises
        ------
        SecretError
            It is not open here.
        DTypeError
            It is not sealed.
        """
        from kist.model.sealing import grouplocks

        try:
            with self._write() as txn:
                self._sealed_place(txn, "rotate the keys of")
                grouplocks.rotate(self._store, txn, self._id, secrets, now=now)
        finally:
            del secrets  # a traceback would show it
