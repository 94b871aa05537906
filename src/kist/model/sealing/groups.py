"""Sealed groups: whose secrets open all that stands below, and what says that it belongs there.

A sealed group has a lock, as a dataset has one that is sealed as a whole. What stands below it has
none for users: the lock of a dataset opens with a key that follows from that of the group. Each
node, the group too, has a *place*: a manifest over its attributes, which are sealed, that also
names its kind, its parent and its name. So a node that somebody pasted in, renamed or moved does
not count, and attributes are those that were written (docs/design/0020-sealed-groups.md).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from kist.crypto.secret import Secret
from kist.engine import fieldkeys
from kist.engine.fieldkeys import FieldKeys, open_lock
from kist.engine.keyring import keyring_of
from kist.errors import SecretError, TamperedDataError, WrongSecretError
from kist.format import keys
from kist.format.node import NodeKind
from kist.format.sealed import Lock
from kist.model import directory
from kist.model.sealing.field import SealedField, put_lock, read_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kist.engine import Transaction, View
    from kist.format.keys import Range
    from kist.format.node import NodeRecord
    from kist.model.sealing.secrets import Encryption

__all__ = [
    "INHERITED",
    "SealedPlace",
    "begin_below",
    "check_stands",
    "group_of",
    "keys_below",
    "labels",
    "lock_of",
    "path_of",
    "place_for",
    "put_group_lock",
    "same_keys",
    "seal_group",
    "secret_below",
    "secret_of",
    "stands",
]

INHERITED: Final = "group"
"""Label of the one secret of a dataset below a sealed group."""

_BELOW: Final = b"kist 1 group"
_NAMES: Final = b"kist 1 attribute names"
_STANDS: Final = struct.Struct("<BQ")  # kind, parent; the name follows
_HASH_BYTES: Final = 16


class SealedPlace(SealedField):
    """Where a node stands in a sealed group, and its attributes: open, and held against both."""

    kind: ClassVar[str] = "node"
    number: ClassVar[int] = keys.PLACE

    __slots__ = ()

    @classmethod
    def ranges(cls, node: int) -> list[tuple[Range, bool]]:
        """All attributes, those of columns too."""
        return [(keys.all_attributes(node), False)]

    @classmethod
    def _keys_of(cls, view: View, node: int, path: str) -> FieldKeys:
        group = group_of(view, node)
        if group is None:
            raise TamperedDataError(f"{path!r} stands in no sealed group: do not trust the file")
        return group_keys(view, group)

    @classmethod
    def find(cls, view: View, node: int, path: str, opened: FieldKeys | None = None) -> Self:
        """Return the place of a node, which its records agree with.

        Raises
        ------
        SecretError, WrongSecretError
            The secret of the group is missing.
        TamperedDataError
            The node was put there, renamed or changed by somebody without it.
        """
        found = super().find(view, node, path, opened)
        record = directory.record(view, node)
        if record is None or found.more.reveal() != stands(record):
            raise TamperedDataError(
                f"{path!r} is not where, or what, it was when it was sealed: a node of a sealed"
                " group was renamed, moved or exchanged without the secret; do not trust the file"
            )
        return found

    def hidden_name(self, name: str) -> str:
        """Return under which name the records have an attribute."""
        return self.keys.key_of(_NAMES).mac(name.encode())[:_HASH_BYTES].hex()

    def stands_here(self, txn: Transaction) -> None:
        """Vouch for the node where its record says now that it stands."""
        record = directory.record(txn, self.node)
        assert record is not None
        self._moved(record).vouch(txn)

    def _moved(self, record: NodeRecord) -> Self:
        self.more = _hidden(stands(record))
        return self


def stands(record: NodeRecord) -> bytes:
    """Return where, and what, a node is: what its manifest names."""
    return _STANDS.pack(record.kind, record.parent) + record.name.encode()


def _hidden(more: bytes) -> Any:
    from kist.crypto.hidden import Hidden

    return Hidden(more)


# Which group, and its keys


def group_of(view: View, node: int) -> int | None:
    """Return the sealed group that a node is or stands in, None where there is none.

    Raises
    ------
    TamperedDataError
        The records of the node and those of the groups above say different things.
    """
    at, below, group = node, [], None
    for _ in range(directory.MAX_DEPTH + 2):
        below.append(directory.is_marked(view, at))
        if view.get(keys.lock(at, keys.PLACE)) is not None:
            group = at
            break
        found = None if at == keys.ROOT else directory.record(view, at)
        if found is None:
            break
        at = found.parent
    if group is None and any(below):
        raise TamperedDataError(
            f"{path_of(view, node)!r} is of a sealed group, and stands in none: it was moved, or"
            " the keys of its group were taken away; do not trust the file"
        )
    if group is not None and not all(below):
        raise TamperedDataError(
            f"{path_of(view, node)!r} stands in a sealed group, and it, or a group between them,"
            " was not put there by a holder of the secret; do not trust the file"
        )
    return group


def group_keys(view: View, group: int) -> FieldKeys:
    """Return the keys of a sealed group.

    Raises
    ------
    SecretError, WrongSecretError
        No secret was given, or none that opens it.
    """
    packed, path = read_lock(view, group, keys.PLACE), path_of(view, group)
    assert packed is not None
    ring = view.reader.keyring
    try:
        found = None if ring is None else ring.open(packed, (path.strip("/"),))
    except WrongSecretError as error:
        raise WrongSecretError(f"the group {path!r}: {error}") from None
    if found is None:
        raise SecretError(
            f"the group {path!r} is sealed, and no secret was given for it: "
            "kist.open(..., secrets=[...])"
        )
    return found


def path_of(view: View, node: int) -> str:
    """Return the path of a node, or its number."""
    return directory.path_of(view, node) or f"node {node}"


def place_for(view: View, node: int) -> SealedPlace | None:
    """Return the place of a node, verified up to its group; None of one in no sealed group.

    Raises as `SealedPlace.find`.
    """
    group = group_of(view, node)
    if group is None:
        return None
    # Both once for all of the chain: each takes a look up to the root.
    opened, path = group_keys(view, group), path_of(view, node)
    own = None
    for at in _chain(view, node, group):
        found = SealedPlace.find(view, at, path, opened)
        own = own or found
        path = path.rpartition("/")[0]
    return own


def _chain(view: View, node: int, group: int) -> Iterator[int]:
    """Yield a node and the groups above it, up to the sealed one."""
    yield node
    while node != group:
        found = directory.record(view, node)
        assert found is not None
        node = found.parent
        yield node


def check_stands(view: View, node: int, where: str) -> bool:
    """Hold a node against the path under which it was found; tell whether a group seals it.

    Raises
    ------
    TamperedDataError
        It is not what a holder of the secret has put there; without the secret no more is seen
        than that records contradict each other.
    """
    group = group_of(view, node)
    if group is None:
        if directory.leads_inside(view, where):
            raise TamperedDataError(
                f"{where!r} is listed in a sealed group, and its records say that it stands "
                "elsewhere; do not trust the file"
            )
        return False
    try:
        place_for(view, node)
    except TamperedDataError:
        raise
    except SecretError:
        return True
    names = []
    for at in _chain(view, node, group):
        record = directory.record(view, at)
        assert record is not None
        names.append(record.name)
    shown = where.split("/")[-len(names) :]
    if shown != names[::-1]:
        raise TamperedDataError(
            f"{where!r} leads to what was sealed as {'/'.join(names[::-1])!r}: names of a sealed "
            "group were exchanged; do not trust the file"
        )
    return True


# What stands below


def secret_below(view: View, node: int) -> Secret | None:
    """Return what opens the datasets of the group in which a node stands; None in no group.

    Raises as `SealedPlace.find`.
    """
    place = place_for(view, node)
    return None if place is None else secret_of(place.keys)


def secret_of(opened: FieldKeys) -> Secret:
    """Return what opens the datasets below a group whose keys these are."""
    return Secret(opened.key_of(_BELOW).reveal())


def same_keys(one: FieldKeys, other: FieldKeys) -> bool:
    """Tell whether what stands below two groups opens with the same key."""
    return one.key_of(_BELOW).mac(b"") == other.key_of(_BELOW).mac(b"")


def keys_below(view: View, node: int, path: str, packed: bytes) -> FieldKeys:
    """Return the keys of a lock of a dataset below a sealed group.

    Raises
    ------
    SecretError
        No secret of the group was given.
    TamperedDataError
        It is not a lock that this group opens.
    """
    secret = secret_below(view, node)
    assert secret is not None  # or `group_of` has raised: the node is marked
    try:
        found = open_lock(Lock.unpack(packed), [secret])
    except WrongSecretError:
        raise TamperedDataError(
            f"{path!r} stands in a sealed group whose secret does not open it: it was put there by"
            " somebody else; do not trust the file"
        ) from None
    keyring_of(view.reader).remember(packed, found)
    return found


def seal_group(txn: Transaction, node: int, path: str, encrypt: Encryption) -> None:
    """Seal a new group, which is empty."""
    if group_of(txn, node) is not None:
        raise SecretError(
            f"create {path!r}: it stands in a sealed group, whose secrets open all that is in it: "
            "leave out encrypt="
        )
    lock, opened = fieldkeys.make_lock(encrypt.secrets)
    put_group_lock(txn, node, lock, opened)
    record = directory.record(txn, node)
    assert record is not None
    txn.put(keys.node(node), record.sealed().pack())
    SealedPlace.begin(txn, node, path, opened, stands(record)).vouch(txn)


def begin_below(txn: Transaction, group: int, node: int) -> None:
    """Give a new node its place in a sealed group, or below one.

    Raises
    ------
    SecretError
        The secret is missing; or it is a link, and would say in clear where it leads.
    """
    above, record = place_for(txn, group), directory.record(txn, node)
    path = path_of(txn, node)
    if above is None or record is None:
        raise TamperedDataError(
            f"create {path!r}: the groups that lead there are sealed, and their records say that it"
            " stands elsewhere; do not trust the file"
        )
    if record.kind == NodeKind.LINK:
        raise SecretError(
            f"create {path!r}: a link would say in clear where it leads; put it outside of the "
            "sealed group. It may lead into it"
        )
    SealedPlace.begin(txn, node, path, above.keys, stands(record)).vouch(txn)


# The secrets of the group


def labels(view: View, node: int) -> tuple[str, ...]:
    """Return the labels of the secrets of a sealed group; needs none."""
    packed = read_lock(view, node, keys.PLACE)
    return () if packed is None else tuple(slot.label for slot in Lock.unpack(packed).slots)


def lock_of(txn: Transaction, node: int) -> tuple[Lock, SealedPlace]:
    """Return the lock of a sealed group, and its place, open."""
    packed, place = read_lock(txn, node, keys.PLACE), place_for(txn, node)
    assert packed is not None and place is not None
    return Lock.unpack(packed), place


def put_group_lock(txn: Transaction, node: int, lock: Lock, opened: FieldKeys) -> None:
    """Put the lock of a group."""
    packed = lock.pack()
    keyring_of(txn.reader).remember(packed, opened)
    put_lock(txn, node, packed, keys.PLACE)
