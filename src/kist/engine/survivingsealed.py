"""What is left of a store that is sealed as a whole, for who has its secret.

Only what a slot or the log vouches for under the lock of the store: leaves that lost their way to
the root, and frames that nothing names, are nobody's word here, and are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kist.engine import creation, fieldkeys, recovery, sealedstore
from kist.engine.keyring import Keyring
from kist.engine.recovery import Ring
from kist.engine.salvage import Remains
from kist.engine.survivors import SurvivingReader
from kist.engine.view import State, View
from kist.errors import CorruptDataError
from kist.format import layout
from kist.storage import FileBackend

if TYPE_CHECKING:
    from kist.engine.recovery import Loaded
    from kist.engine.sealedstore import StoreSealing
    from kist.format.superblock import Super
    from kist.storage.base import StorageBackend

__all__ = ["find_sealed_remains", "make_like"]


def find_sealed_remains(backend: StorageBackend, path: str, keyring: Keyring) -> Remains:
    """Return the newest commit of a sealed store whose root can be read.

    Raises
    ------
    SecretError, WrongSecretError
        No secret opens it.
    TamperedDataError
        It is not what holders of the secret wrote.
    CorruptDataError
        Neither slot, or no root, is whole.
    """

    def unlock(super_: Super, head: bytes, slot: int) -> StoreSealing | None:
        if not super_.is_sealed:
            sealedstore.refuse_clear(head, keyring, path)
        return sealedstore.unlock(head, layout.SLOT_OFFSETS[slot], keyring, path)

    loaded = recovery.load(backend, path, unlock=unlock)
    notes = [loaded.chain.damage.split(":", 1)[0]] if loaded.chain.damage else []
    newest = loaded.chain.state.shown
    for state in _states(backend, loaded):
        reader = SurvivingReader(backend)
        reader.uuid, reader.sealing, reader.keyring = loaded.super.uuid, loaded.sealing, keyring
        tree = reader.tree
        tree.walk(state.root_bytes())
        tree.settle(complete=True)
        if tree.reached or not tree.broken:
            if state.shown != newest:
                notes.append(
                    f"the tree of commit {newest} is lost; commit {state.shown} is the newest"
                    " before it whose tree is there"
                )
            return Remains(View(reader, state), reader, state.shown, True, notes)
    raise CorruptDataError(f"{path}: no tree of this sealed store can be read: restore a backup")


def _states(backend: StorageBackend, loaded: Loaded) -> Iterator[State]:
    yield loaded.chain.state
    ring = Ring(backend, loaded.super, loaded.sealing)
    for slot in loaded.slots:
        if slot is not None and slot.commit < loaded.chain.state.commit:
            yield recovery.walk(ring.again(), slot, slot.commit).state


def make_like(reader: SurvivingReader, path: str) -> Keyring:
    """Make an empty store that the same secrets open, and return what opens it.

    Its data key is new: one that somebody knew before a rotation is not for what is written now.
    """
    before = reader.sealing
    assert before is not None
    lock, keys = fieldkeys.rotate(before.lock, before.keys, forget=True, first_commit=0)
    backend = FileBackend(path, writable=True, exclusive=True)
    try:
        creation.create(backend, sealing=sealedstore.StoreSealing(lock, keys, path))
    finally:
        backend.close()
    keyring = Keyring()
    keyring.remember(lock.pack(), keys)
    return keyring
