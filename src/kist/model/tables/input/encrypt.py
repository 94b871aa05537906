"""``encrypt=``: which columns are sealed, and with which secrets."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kist.crypto.hidden import Held
from kist.crypto.secret import Secret
from kist.errors import ColumnNotFoundError, DTypeError, SecretError

if TYPE_CHECKING:
    from kist.format.schema import Schema

__all__ = ["Encrypt", "labelled", "no_default"]

_EVERY = ("*",)


class Encrypt:
    """What was given, its secrets out of sight at once: frames of tracebacks show their locals.

    Parameters
    ----------
    given : mapping of column, or tuple of columns, to secrets; or secrets
        For each field one secret, a list of them, or a dict of labels and secrets. Secrets alone
        are for all columns, as one field.

    Raises
    ------
    SecretError
        Something is no secret, or there is none.
    """

    __slots__ = ("_fields",)

    def __init__(self, given: Any) -> None:
        secrets: Any = None
        try:
            if isinstance(given, Held):
                given = given.given
            if not isinstance(given, Mapping):
                self._fields = {_EVERY: labelled(given)}
                return
            self._fields = {}
            for key, secrets in given.items():
                names = (key,) if isinstance(key, str) else key
                if not isinstance(names, tuple) or not names:
                    raise SecretError("encrypt= names a column, or a tuple of them, a secret")
                self._fields[names] = labelled(secrets)
            if not self._fields:
                raise SecretError("encrypt= is empty: nothing would be sealed")
        finally:
            given = secrets = None

    @classmethod
    def of_all(cls, secrets: Mapping[str, Secret]) -> Encrypt:
        """Return what seals all columns, with secrets by their labels."""
        found = cls.__new__(cls)
        found._fields = {_EVERY: dict(secrets)}
        return found

    def __repr__(self) -> str:
        return f"<encrypt {list(self._fields)}>"

    def refuse_clear(self, path: str, sealed: Mapping[str, object], names: Sequence[str]) -> None:
        """Raise where a table that is there has one of the columns in clear.

        Parameters
        ----------
        path : str
            Of the table.
        sealed : mapping
            Its sealed columns.
        names : sequence of str
            All of its columns.
        """
        asked = [name for own in self._fields for name in (names if own is _EVERY else own)]
        clear = [name for name in asked if name not in sealed]
        if clear:
            raise SecretError(
                f"{path!r} is there, its column {clear[0]!r} is not sealed, and encrypt= was given:"
                " make a new table and append the rows, then delete this one"
            )

    def seal(self, schema: Schema, what: str) -> tuple[Schema, dict[int, dict[str, Secret]]]:
        """Return the schema with its sealed fields, and the secrets of each by its number.

        Raises
        ------
        ColumnNotFoundError
            There is no such column.
        DTypeError
            A column cannot be sealed, or is named twice.
        """
        by_name = {column.name: column for column in schema.columns}
        secrets = {}
        for number, (names, own) in enumerate(self._fields.items(), 1):
            for name in by_name if names is _EVERY else names:
                column = by_name.get(name)
                if column is None:
                    raise ColumnNotFoundError(f"{what}: encrypt= for {name!r}, which is no column")
                if column.field:
                    raise DTypeError(f"{what}: encrypt= has column {name!r} twice", column=name)
                if column.default is not None:
                    raise no_default(name, what)
                by_name[name] = replace(column, field=number)
            secrets[number] = own
        columns = tuple(by_name[column.name] for column in schema.columns)
        return replace(schema, columns=columns), secrets


def no_default(name: str, what: str) -> DTypeError:
    """Return the error of a default for a sealed column."""
    return DTypeError(
        f"{what}: fill_value for {name!r} would stand in the file in clear, and a sealed column has"
        " none: leave it out, and give the value with the rows",
        column=name,
    )


def labelled(given: Any, taken: Container[str] = ()) -> dict[str, Secret]:
    """Return secrets under their labels: those given, or numbers.

    Parameters
    ----------
    taken : container of str
        Labels that others have.
    """
    one: Any = None
    try:
        if isinstance(given, Mapping):
            found = {}
            for label, one in given.items():
                if not isinstance(label, str):
                    raise SecretError(f"the label of a secret is a str, not {type(label).__name__}")
                if not label or not label.isprintable():
                    raise SecretError(f"the label of a secret is text that can be shown: {label!r}")
                found[label] = one if isinstance(one, Secret) else Secret(one)
            if not found:
                raise SecretError("an empty dict of secrets opens nothing")
            return found
        from kist.engine.keyring import as_secrets

        free = (label for label in map(str, range(1, 1 << 16)) if label not in taken)
        return dict(zip(free, as_secrets(given), strict=False))
    finally:
        given = one = None
