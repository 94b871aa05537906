"""What stands in sealed groups, split and merged: the group goes along, with its keys.

A dataset of a sealed group opens with a key that follows from that of the group. So a part of it
stands in such a group as well: in the new store the group is made that has the lock of the old one,
byte for byte, and in it the new dataset with a place of its own. The same secrets open it. Nothing
else of the group comes along, unless it is merged too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.engine.keyring import keyring_of
from kist.errors import SecretError, TamperedDataError
from kist.format import keys
from kist.format.node import NodeKind, a_kind
from kist.model import directory
from kist.model.paths import join
from kist.model.sealing.borders import vouch_for_copy
from kist.model.sealing.field import put_lock, read_lock
from kist.model.sealing.groups import (
    SealedPlace,
    group_keys,
    group_of,
    path_of,
    place_for,
    same_keys,
    stands,
)

if TYPE_CHECKING:
    from kist.engine import Transaction, View

__all__ = ["check_outside", "copy_array", "copy_group", "take_group", "vouch_for_copy"]


def take_group(view: View, node: int, txn: Transaction, path: str) -> None:
    """Make the sealed group above a new node, if it is missing, like that above another one.

    Parameters
    ----------
    view, node : View, int
        The node that is taken, in a sealed group, or the group itself.
    txn, path : Transaction, str
        Where the new node will be.

    Raises
    ------
    SecretError
        The secret of the group is missing; or another group stands there, or none can.
    TamperedDataError
        The node is not what a holder of the secret has put there.
    """
    group = group_of(view, node)
    assert group is not None  # or `group_of` has raised: the node is marked
    own, top = path_of(view, node), path_of(view, group)
    try:
        place_for(view, node)
    except TamperedDataError:
        raise
    except SecretError as error:
        raise type(error)(
            f"{error}. What stands in a sealed group is split and merged with its secret, secrets=:"
            " the new place must be vouched for"
        ) from None
    n_below = own.count("/") - top.count("/")
    names = path.strip("/").split("/")
    above = names[: len(names) - n_below]
    if not above:
        raise SecretError(
            f"{own!r} stands in the sealed group {top!r}, and {path!r} in none: give a path= in a"
            " group, which is sealed with the same secrets"
        )
    parent, base = directory.require_groups(txn, keys.ROOT, tuple(above[:-1]), "/")
    entry, where = directory.child(txn, parent, above[-1]), join(base, above[-1])
    if entry is None:
        _begin(view, group, txn, directory.add(txn, parent, above[-1], NodeKind.GROUP, base), where)
        return
    there = None if entry.kind != NodeKind.GROUP else group_of(txn, entry.node)
    if there != entry.node or not same_keys(group_keys(view, group), group_keys(txn, there)):
        found = a_kind(entry.kind) if there is None else "a group with other keys"
        raise SecretError(
            f"{own!r} stands in a sealed group, and {where!r} of the first store is {found}: what"
            " is under the keys of one group is not put into another one as it is stored; merge it"
            " by itself, or read the values and write them there"
        )


def _begin(view: View, group: int, txn: Transaction, node: int, path: str) -> None:
    """Seal a new group as another one is, with nothing in it."""
    if directory.is_inside(txn, node) or directory.leads_inside(txn, path):
        raise SecretError(f"{path!r}: a sealed group does not stand in another one")
    packed, opened = read_lock(view, group, keys.PLACE), group_keys(view, group)
    record = directory.record(txn, node)
    assert packed is not None and record is not None
    keyring_of(txn.reader).remember(packed, opened)
    put_lock(txn, node, packed, keys.PLACE)
    txn.put(keys.node(node), record.sealed().pack())
    SealedPlace.begin(txn, node, path, opened, stands(record)).vouch(txn)


def check_outside(txn: Transaction, group: int, path: str) -> None:
    """Raise where something that stands in no sealed group would be put into one."""
    if directory.is_marked(txn, group):
        raise SecretError(
            f"{path!r} stands in a sealed group of the first store, and in none of this one: what"
            " is not under the keys of the group is not put into it as it is stored; read the"
            " values and write them there"
        )


def copy_group(view: View, node: int, txn: Transaction, path: str) -> None:
    """Make a group that is sealed, or in one, with its attributes; not what is in it."""
    from kist.model.parts.making import copy_beside

    take_group(view, node, txn, path)
    new, where = directory.require_groups(txn, keys.ROOT, tuple(path.strip("/").split("/")), "/")
    copy_beside(view, node, txn, new)
    vouch_for_copy(view, node, txn, new, where)


def copy_array(view: View, node: int, txn: Transaction, path: str) -> None:
    """Copy an array of a sealed group as it is stored, also one without axes."""
    from kist.model.copying import copy_inside

    take_group(view, node, txn, path)
    *above, name = path.strip("/").split("/")
    group, base = directory.require_groups(txn, keys.ROOT, tuple(above), "/")
    copy_inside(view, txn, node, group, name, base)
