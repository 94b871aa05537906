"""What happens at the border of a sealed group: moves, copies, and what `check` finds there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.engine.keyring import keyring_of
from kist.errors import FormatError, SecretError, TamperedDataError
from kist.format import keys
from kist.format.node import a_kind
from kist.model import directory
from kist.model.sealing import attributes
from kist.model.sealing.field import read_lock
from kist.model.sealing.groups import (
    SealedPlace,
    check_stands,
    group_keys,
    group_of,
    path_of,
    place_for,
    same_keys,
    stands,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kist.engine import Transaction, View

__all__ = ["begin_move", "check_copy", "check_places", "vouch_for_copy"]


def begin_move(txn: Transaction, node: int, target: int) -> SealedPlace | None:
    """Return the place of a node that is moved, to be vouched for where it stands afterwards.

    Raises
    ------
    SecretError
        It would cross the border of a sealed group, or the secret is missing.
    """
    _check_border(txn, node, group_of(txn, node), target, group_of(txn, target), "move")
    place_for(txn, target)
    return place_for(txn, node)


def check_copy(source: View, txn: Transaction, node: int, target: int) -> None:
    """Raise where a copy would cross the border of a sealed group.

    Raises
    ------
    SecretError
        It would, or the secret is missing.
    """
    own, there = group_of(source, node), group_of(txn, target)
    other = source.reader.uuid != txn.reader.uuid
    if there is not None and (other or _other_keys(source, own, txn, there)):
        there = -1  # of another store, of a fork of this one, or from before keys were changed
    _check_border(source, node, own, target, there, "copy")
    place_for(source, node)


def _other_keys(source: View, own: int | None, txn: Transaction, there: int) -> bool:
    """Tell whether a group has other keys in the source than where the copy goes."""
    return own == there and not same_keys(group_keys(source, there), group_keys(txn, there))


def _check_border(
    view: View, node: int, own: int | None, target: int, there: int | None, what: str
) -> None:
    whole = own == node
    if (own == there and not whole) or (whole and there is None):
        return
    path, kind = path_of(view, node), a_kind(getattr(directory.record(view, node), "kind", 0))
    if whole:
        raise SecretError(f"{what} {path!r}: a sealed group does not stand in another one")
    raise SecretError(
        f"{what} {path!r}: {kind} does not cross the border of a sealed group as it is stored: "
        f"{'its values are under the key of the group' if own is not None else 'it is in clear'}. "
        "Make a new one there and write the values into it"
    )


def vouch_for_copy(source: View, node: int, txn: Transaction, new: int, path: str) -> None:
    """Vouch for the place of a node whose records were just copied from another one."""
    before = SealedPlace.find(source, node, path_of(source, node))
    group = group_of(source, node)
    assert group is not None
    packed = read_lock(source, group, keys.PLACE)
    assert packed is not None
    keyring_of(txn.reader).remember(packed, before.keys)
    record = directory.record(txn, new)
    assert record is not None
    place = SealedPlace.begin(txn, new, path, before.keys, stands(record))
    place.bind_all(txn)
    place.vouch(txn)


def check_places(view: View) -> Iterator[tuple[str, str, bool]]:
    """Yield what is wrong with places and attributes in sealed groups, and what was not looked at.

    As (path, message, whether it is only that the secret is missing).
    """
    for path, entry in directory.walk(view, keys.ROOT, "/"):
        try:
            if not check_stands(view, entry.node, path):
                continue
            place = place_for(view, entry.node)
        except (FormatError, TamperedDataError) as error:
            yield path, str(error), False
            continue
        except SecretError:
            if group_of(view, entry.node) == entry.node:
                yield path, "sealed: nodes and attributes in it were not checked", True
            continue
        assert place is not None
        for message in attributes.verify(view, place):
            yield path, message, False
