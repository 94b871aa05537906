"""The sealed fields of a table: their keys, and how pieces and patches hold them.

A *field* is what one secret opens: one column, or several. `Sealing` is what a `TableState` asks
for keys. A field is opened when something of it is first read or changed, and with that the
records of the table are held against its manifest (docs/design/0013-sealed-columns.md).

A piece of a table with sealed fields is the open leaves, then for each field a sealed body with a
piece of its leaves: docs/format.md, "Sealed tables".
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from kist.engine.fieldkeys import FieldKeys
from kist.engine.keyring import keyring_of
from kist.engine.manifest import Place, check_manifest, token_of
from kist.engine.sealed import UNIT, seal_body, unseal_body
from kist.errors import CorruptDataError, SecretError, TamperedDataError, WrongSecretError
from kist.format import keys
from kist.format.values import unpack_record
from kist.model import directory

if TYPE_CHECKING:
    from kist.engine import View
    from kist.format.keys import Range
    from kist.format.schema import Schema

__all__ = [
    "DIGEST_BYTES",
    "Sealing",
    "bound_ranges",
    "check_promises",
    "coded_leaves",
    "digest_of",
    "field_keys",
    "pack_parts",
    "place_of",
    "read_lock",
    "seal_part",
    "unpack_parts",
    "unseal_part",
]

DIGEST_BYTES: Final = 32
"""Of what stands in an extent: the manifest binds records, and through this their extents."""

_PART: Final = struct.Struct("<II")  # field, bytes
_FEW, _SMALL = 1 << 15, 12  # below so many bytes units of 4 KiB


class Sealing:
    """The sealed fields of a table as one view shows them.

    Parameters
    ----------
    view : View
        Snapshot or transaction.
    node, path : int, str
        The table.
    schema : Schema
        Its columns.
    opened : dict of int to FieldKeys
        Fields that were opened and verified in this view; filled here.
    """

    __slots__ = ("_node", "_open", "_path", "_schema", "_view")

    def __init__(
        self, view: View, node: int, path: str, schema: Schema, opened: dict[int, FieldKeys]
    ) -> None:
        self._view = view
        self._node = node
        self._path = path
        self._schema = schema
        self._open = opened

    def keys(self, field: int) -> FieldKeys:
        """Return the keys of a field whose records are those that its manifest names.

        Raises
        ------
        SecretError
            No secret was given.
        WrongSecretError
            None of them opens the field.
        TamperedDataError
            The records of the table are not those that were written.
        """
        found = self._open.get(field)
        if found is None:
            found = field_keys(self._view, self._node, self._path, self._schema, field)
            verify(self._view, self._node, self._path, self._schema, field, found)
            self._open[field] = found
        return found

    def all_keys(self) -> None:
        """Open all fields: what any change of the table needs.

        Raises
        ------
        SecretError
            As `keys`, and says that the table can be read only.
        """
        for field in self._schema.sealed:
            try:
                self.keys(field)
            except TamperedDataError:
                raise
            except SecretError as error:
                raise type(error)(
                    f"{error}. Without all of its secrets a table can only be read: what is "
                    "changed must be vouched for under each of them"
                ) from None

    def opens(self, field: int) -> bool:
        """Tell whether a secret was given that opens a field."""
        try:
            self.keys(field)
        except TamperedDataError:
            raise
        except SecretError:
            return False
        return True

    def can_write(self) -> bool:
        """Tell whether all fields open."""
        return all(self.opens(field) for field in self._schema.sealed)


def field_keys(view: View, node: int, path: str, schema: Schema, field: int) -> FieldKeys:
    """Return the keys of a field, opened with the secrets of the handle; raises as `Sealing.keys`.

    The records are not held against the manifest: that is `Sealing.keys`.
    """
    names = [column.name for column in schema.sealed[field]]
    packed = read_lock(view, node, field)
    if packed is None:
        raise TamperedDataError(
            f"{_called(path, names)} {_are(names)} sealed, and the keys are gone: do not trust the"
            " file"
        )
    # What was opened under the path of the table is kept: some know no more than its number.
    if (ring := view.reader.keyring) is None:
        found = None
    else:
        found = ring.opened(packed)
    if found is None and directory.is_marked(view, node):
        from kist.model.sealing.field import open_inherited

        return open_inherited(view, node, path, packed)
    if found is None and ring is not None:
        where = path.strip("/")
        known = [*names, *_computed_from(schema, names)] if ring.named else names
        named = [name for column in known for name in (f"{where}/{column}", column)]
        try:
            found = ring.open(packed, named)
        except WrongSecretError as error:
            raise WrongSecretError(f"{_called(path, names)}: {error}") from None
    if found is None:
        hidden = _hidden_columns(schema)
        open_ = [column.name for column in schema.columns if column.name not in hidden]
        hint = f"; {_listed(open_)} can be read without one" if open_ else ""
        if ring is not None and ring.named:
            hint += f". By name they were given for {_listed(list(ring.named))}"
        raise SecretError(
            f"{_called(path, names)} {_are(names)} sealed, and no secret was given for"
            f" {'it' if len(names) == 1 else 'them'}: kist.open(..., secrets=[...]){hint}"
        )
    return found


def read_lock(view: View, node: int, field: int) -> bytes | None:
    """Return the lock of a field as bytes, None where there is none."""
    value = view.get(keys.lock(node, field))
    if value is None:
        return None
    pointers, payload = unpack_record(value)
    return bytes(view.read(pointers[0])) if pointers else payload


def verify(view: View, node: int, path: str, schema: Schema, field: int, opened: FieldKeys) -> None:
    """Hold the records of a table against the manifest of a field, unless that was done before."""
    value = view.get(keys.manifest(node, field))
    payload = None if value is None else unpack_record(value)[1]
    ring = keyring_of(view.reader)
    if payload is not None:
        token = token_of(place_of(node, field, view), payload)
        if ring.is_verified(token, view.commit_id, changing=view.is_transaction):
            return
    try:
        ranges = bound_ranges(node, schema, field)
        check_manifest(view, payload, place_of(node, field, view), opened, ranges)
    except TamperedDataError as error:
        names = [column.name for column in schema.sealed[field]]
        raise TamperedDataError(f"{_called(path, names)}: {error}") from None
    if payload is not None:
        ring.verify(token, view.commit_id)


def place_of(node: int, field: int, view: View) -> Place:
    """Return what the manifest of a field names."""
    return Place(view.reader.uuid, node, field)


def bound_ranges(node: int, schema: Schema, field: int) -> list[tuple[Range, bool]]:
    """Return the ranges of keys that a manifest binds, and whether their extents count too."""
    return [
        *((keys.pages(node, leaf), False) for leaf in leaves_of(schema, field)),
        *((keys.categories(node, leaf), False) for leaf in coded_leaves(schema, field)),
        (keys.groups(node), False),
        (keys.patches(node), False),
        (keys.deletions(node), True),
        (keys.prefix_range(keys.schema(node)), True),
    ]


def leaves_of(schema: Schema, field: int) -> list[int]:
    """Return the ids of the leaves of a field."""
    columns = schema.columns
    return [leaf.id for leaf in schema.packed if columns[leaf.column].field == field]


def coded_leaves(schema: Schema, field: int) -> list[int]:
    """Return the ids of the leaves of a field that hold codes of categories."""
    return [
        column.first_leaf
        for column in schema.columns
        if column.field == field and column.is_categorical
    ]


def check_promises(view: View, node: int, path: str, schema: Schema) -> None:
    """Raise where a table is less sealed than its own records or the caller's secrets say.

    Raises
    ------
    TamperedDataError
        A secret was given by name for a column that is not sealed, or keys and manifest are there
        of a field that no column names: somebody has edited the schema.
    """
    ring = view.reader.keyring
    if ring is None:
        return
    if not all(column.field for column in schema.columns) and (
        directory.is_inside(view, node) or directory.leads_inside(view, path)
    ):
        raise directory.in_clear("table", path)
    where = path.strip("/")
    hidden = _hidden_columns(schema) if ring.named else set()
    for column in schema.columns:
        if column.name not in hidden and ring.named and f"{where}/{column.name}" in ring.named:
            raise TamperedDataError(
                f"{path!r} column {column.name!r} is not sealed, and a secret was given for it by"
                " name: who writes now writes in clear; do not trust the file"
            )
    # One that was renamed is sealed still.
    n_sealed = len(hidden)
    if ring.named and sum(1 for name in ring.named if name.startswith(where + "/")) > n_sealed:
        raise TamperedDataError(
            f"{path!r} has {n_sealed} sealed columns, and secrets were given by name for more: who "
            "writes now may write in clear; do not trust the file"
        )
    for key, _ in view.scan(*keys.sealed_fields(node)):
        if keys.leaf_of(key) not in schema.sealed:
            raise TamperedDataError(
                f"{path!r} has the keys of a sealed field, and no column is of that field: the "
                "schema was edited; do not trust the file"
            )


# Pieces and patches


def seal_part(opened: FieldKeys, data: bytes) -> bytes:
    """Return a part of a piece or a patch as a sealed body."""
    head, units = seal_body(opened.current, [data], _SMALL if len(data) < _FEW else UNIT)
    return head + bytes(units)


def unseal_part(opened: FieldKeys, data: bytes) -> bytes:
    """Return what `seal_part` sealed; raises as `unseal_body`."""
    return bytes(unseal_body(data, opened.data))


def pack_parts(parts: Sequence[tuple[int, bytes]]) -> bytes:
    """Return the parts of a piece, each behind the number of its field and its length."""
    out = []
    for field, data in parts:
        out += [_PART.pack(field, len(data)), data]
    return b"".join(out)


def unpack_parts(data: bytes) -> dict[int, bytes]:
    """Return the parts of a piece by their fields.

    Raises
    ------
    CorruptDataError
        They do not add up.
    """
    parts: dict[int, bytes] = {}
    at, last = 0, -1
    while at < len(data):
        if at + _PART.size > len(data):
            raise CorruptDataError(f"a piece of several parts of {len(data)} bytes is cut off")
        field, length = _PART.unpack_from(data, at)
        at += _PART.size + length
        if at > len(data) or field <= last:
            raise CorruptDataError(f"a piece of several parts of {len(data)} bytes is cut off")
        parts[field] = data[at - length : at]
        last = field
    return parts


def digest_of(data: bytes) -> bytes:
    """Return what a record says of its extent."""
    return hashlib.sha256(data).digest()


def fields_of(leaves: Iterable[int], sealed: Mapping[int, int]) -> set[int]:
    """Return the fields of some leaves, 0 among them where one is open."""
    return {sealed.get(leaf, 0) for leaf in leaves}


def _called(path: str, names: Sequence[str]) -> str:
    word = "column" if len(names) == 1 else "columns"
    return f"{path!r} {word} {_listed(names)}"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _hidden_columns(schema: Schema) -> set[str]:
    """Return the columns that are not read without a secret: sealed, or computed from such."""
    names = [column.name for columns in schema.sealed.values() for column in columns]
    return {*names, *_computed_from(schema, names)}


def _computed_from(schema: Schema, names: Sequence[str]) -> list[str]:
    """Return the virtual columns that are computed from some of the columns of these names."""
    virtual = [column.name for column in schema.columns if column.is_virtual]
    if not virtual or not schema.sealed:
        return []
    from kist.model.tables.stored.computed import sealed_sources
    from kist.model.tables.stored.schema import facts_of

    facts = facts_of(schema)
    return [
        name for name in virtual if set(names) & {*sealed_sources(facts, schema.leaves_of(name))}
    ]


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > 8 else ""
    return ", ".join(map(repr, names[:8])) + more
