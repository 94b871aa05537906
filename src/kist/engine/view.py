"""What can be read: a state (root and changes since), and pinned snapshots of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from kist.engine.overlay import MISSING, Missing, Overlay
from kist.engine.tree import Tree
from kist.errors import CorruptDataError, StoreClosedError
from kist.format.checksum import sum128
from kist.format.layout import DATA_OFFSET, FRAME, MAX_OFFSET
from kist.format.values import Pointer
from kist.storage.base import StorageBackend

if TYPE_CHECKING:
    from kist.engine.keyring import Keyring
    from kist.engine.sealedstore import StoreSealing
    from kist.format.sealedstore import SealedExtent

_AROUND = 48 * 1024  # three tree pages to either side

_TREE = 1 << 20  # all of that of a table of 5M rows and 50 columns


@dataclass(slots=True)
class State:
    """One commit: where its map is found."""

    commit: int
    time_ns: int
    root: Pointer | None
    overlay: Overlay
    end: int
    next_node: int
    shown: int = 0  # the last commit of the user at or before this one

    def root_bytes(self) -> bytes | None:
        """Packed pointer to the root page."""
        return self.root.pack() if self.root else None


class Reader:
    """Reads verified bytes from a backend, and trees through a cache of pages."""

    def __init__(self, backend: StorageBackend) -> None:
        self.backend = backend
        self.uuid = bytes(16)  # of the store, where it has one
        self.kin = b""  # what it has in common with other stores, see `kist.model.page_build`
        self.keyring: Keyring | None = None  # of the handle, where it was given secrets
        self.sealing: StoreSealing | None = None  # of the store, where all of it is sealed
        self.tree = Tree(self.read, self.bring_near if backend.remote else None)

    def read(self, pointer: Pointer, end: int | None = None) -> bytes:
        """Body of a frame whose head is all of it, verified.

        A pointer of a sealed extent reads itself, as `kist.engine.sealedrecords` has it.

        Raises
        ------
        CorruptDataError
            The pointer leads out of the file, or the sum does not match.
        """
        if not pointer.is_whole:
            raise CorruptDataError("this frame is read in parts", offset=pointer.offset)
        data = self.read_part(pointer, 0, pointer.length)
        self.verify(pointer, data)
        return data

    def read_part(self, pointer: Pointer, start: int, length: int) -> bytes:
        """Bytes of a body, not verified: the caller knows their sum."""
        if pointer.__class__ is not Pointer:
            return pointer.read_part(self, start, length)  # type: ignore[attr-defined, no-any-return]
        self.check_range(pointer)
        data = self.backend.read(pointer.offset + FRAME.size + start, length)
        if len(data) != length:
            raise _cut_off(pointer)
        return data

    def read_spans(
        self, pointer: Pointer, start: int, spans: Sequence[tuple[int, int]], out: memoryview
    ) -> None:
        """Fill `out` with spans of bytes of a body, not verified: the caller knows their sums.

        Parameters
        ----------
        start : int
            Byte of the body from which on spans are counted.
        spans : sequence of (int, int)
            First byte and end of each.
        """
        if pointer.__class__ is not Pointer:
            at = 0
            for a, b in spans:
                pointer.read_into(self, start + a, out[at : at + b - a])  # type: ignore[attr-defined]
                at += b - a
            return
        self.check_range(pointer)
        read_into = self.backend.read_into
        begin = pointer.offset + FRAME.size + start
        at = 0
        for a, b in spans:
            if read_into(begin + a, out[at : at + b - a]) != b - a:
                raise _cut_off(pointer)
            at += b - a

    def read_into(self, pointer: Pointer, start: int, out: memoryview) -> None:
        """Fill `out` with the bytes of a body from one on, not verified: the caller knows sums."""
        if pointer.__class__ is not Pointer:
            pointer.read_into(self, start, out)  # type: ignore[attr-defined]
            return
        self.check_range(pointer)
        if self.backend.read_into(pointer.offset + FRAME.size + start, out) != len(out):
            raise _cut_off(pointer)

    def unsealed(self, pointer: SealedExtent, start: int, length: int) -> bytes:
        """Bytes of the plaintext of an extent of a sealed store."""
        if self.sealing is None:
            raise CorruptDataError(f"impossible pointer {pointer}", offset=pointer.offset)
        return self.sealing.read(self, pointer, start, length)

    def body(self, pointer: Pointer, raw: memoryview) -> memoryview:
        """Body of a frame as readers want it, given its bytes in the file: opened if sealed."""
        if pointer.__class__ is Pointer or self.sealing is None:
            return raw
        return self.sealing.whole(self, pointer, raw)  # type: ignore[arg-type]

    def bring_near(self, pointers: Sequence[Pointer]) -> None:
        """Bring whole bodies near with one round trip, where the backend is remote.

        What stands around a single one comes as well: in a copy that was laid out anew, the
        neighbours of a tree page are what is asked for next.
        """
        ranges = []
        for pointer in pointers:
            self.check_range(pointer)
            begin = pointer.offset + FRAME.size
            ranges.append((begin, begin + pointer.nbytes))
        if len(ranges) == 1 and not self.backend.is_near(*ranges[0]):
            begin, end = ranges[0]
            ranges = [(max(DATA_OFFSET, begin - _AROUND), end + _AROUND)]
        self.backend.prefetch(ranges)

    def bring_tree_near(self, root: Pointer) -> None:
        """Bring what stands before a root page near: in a copy laid out anew, its tree."""
        self.check_range(root)
        end = root.offset + FRAME.size + root.nbytes
        self.backend.prefetch([(max(DATA_OFFSET, end - _TREE), end)])

    def check_range(self, pointer: Pointer) -> None:
        """Refuse a pointer that cannot lead to a frame."""
        if pointer.__class__ is not Pointer:
            pointer = getattr(pointer, "stored", pointer)  # of a sealed record
        if (
            not DATA_OFFSET <= pointer.offset <= MAX_OFFSET
            or pointer.offset % 64
            or pointer.head > pointer.length
            or pointer.length > 1 << 48
        ):
            raise CorruptDataError(f"impossible pointer {pointer}", offset=pointer.offset)

    def verify(self, pointer: Pointer, head: bytes | memoryview) -> None:
        """Compare the verified head of a frame with its pointer.

        What was opened for a pointer of a sealed store is vouched for by its tags.
        """
        if pointer.__class__ is not Pointer and pointer.is_vouched:
            return
        found = sum128(head)
        if found != pointer.sum:
            self.backend.distrust()
            raise CorruptDataError(
                f"byte {pointer.offset}: checksum {found.hex()}, stored {pointer.sum.hex()};"
                " 'kist check' lists all damage",
                offset=pointer.offset,
            )


def _cut_off(pointer: Pointer) -> CorruptDataError:
    return CorruptDataError(
        f"byte {pointer.offset}: the file ends within a frame of {pointer.length} bytes;"
        " 'kist check' lists all damage",
        offset=pointer.offset,
    )


class View:
    """Read access to one state of the map and its extents.

    Attributes
    ----------
    commit_id : int
        Commit shown; of a transaction: the commit it began with.
    is_transaction : bool
        Whether what it shows may change, under one commit id.
    by_node : dict
        What the layer above keeps of nodes that it has read here, by node id, or by node id and
        field; goes with the view.
    """

    is_transaction: ClassVar[bool] = False

    @property
    def changed(self) -> bool:
        """Whether it shows more than the commit; never, but in a transaction."""
        return False

    def __init__(self, reader: Reader, state: State) -> None:
        self.reader = reader
        self.state = state
        self._overlay = state.overlay
        self._root = state.root_bytes()
        self.by_node: dict[Hashable, Any] = {}

    @property
    def commit_id(self) -> int:
        """Commit shown."""
        return self.state.commit

    @property
    def time_ns(self) -> int:
        """Time of that commit, ns since 1970 UTC."""
        return self.state.time_ns

    def _check_open(self) -> None:
        """Raise when reading is no longer allowed."""

    def get(self, key: bytes) -> bytes | None:
        """Value of a key, or None."""
        self._check_open()
        overlay = self._overlay
        value: bytes | Missing | None = overlay.values.get(key, MISSING)
        if value is MISSING and overlay.ranges[0]:
            value = overlay.get(key)
        if isinstance(value, Missing):
            return self.reader.tree.get(self._root, key)
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of ascending keys, None where there is none.

        Cheaper than `get` for each where keys are neighbours.

        Raises
        ------
        ValueError
            The keys do not ascend.
        """
        self._check_open()
        if list(keys) != sorted(keys):
            raise ValueError("get_many takes its keys in ascending order")
        overlay = self._overlay
        if not overlay:
            return self.reader.tree.get_many(self._root, keys)
        found = overlay.get_many(keys)
        below = [key for key, value in zip(keys, found, strict=True) if value is MISSING]
        values = iter(self.reader.tree.get_many(self._root, below))
        return [next(values) if isinstance(value, Missing) else value for value in found]

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start <= key < stop, in order.

        Changes made while a scan runs may or may not be seen by it.
        """
        self._check_open()
        overlay = self._overlay
        changed = overlay.keys_in(start, stop)
        below = self.reader.tree.scan(self._root, start, stop, reverse)
        if not changed and not overlay.ranges[0]:
            return below
        return _merged(changed[::-1] if reverse else changed, below, overlay, reverse)

    def entries(self, start: bytes, stop: bytes) -> tuple[list[bytes], list[bytes]]:
        """Keys and values of a range at once: faster than `scan` where all are wanted."""
        self._check_open()
        if self._overlay.ranges[0] or self._overlay.keys_in(start, stop):
            pairs = list(self.scan(start, stop))
            return [key for key, _ in pairs], [value for _, value in pairs]
        return self.reader.tree.entries(self._root, start, stop)

    def texts(self, start: bytes, stop: bytes, skip: int) -> tuple[list[str], set[int]] | None:
        """Keys of a range behind their first `skip` bytes as text, and which lengths values have.

        Faster than `entries`. None where that does not suffice: a key is not ASCII, or the range
        has changes that stand in the log.
        """
        self._check_open()
        if self._overlay.ranges[0] or self._overlay.keys_in(start, stop):
            return None
        return self.reader.tree.texts(self._root, start, stop, skip)

    def read(self, pointer: Pointer) -> bytes:
        """Whole verified body of a blob."""
        self._check_open()
        return self.reader.read(pointer)


def _merged(
    changed: list[bytes],
    below: Iterator[tuple[bytes, bytes]],
    overlay: Overlay,
    reverse: bool,
) -> Iterator[tuple[bytes, bytes]]:
    values = dict.get
    at, n = 0, len(changed)
    for key, value in below:
        while at < n and (changed[at] > key if reverse else changed[at] < key):
            new = values(overlay.values, changed[at])
            if new is not None:
                yield changed[at], new
            at += 1
        if overlay.get(key) is MISSING:
            yield key, value
    for key in changed[at:]:
        new = values(overlay.values, key)
        if new is not None:
            yield key, new


class Snapshot(View):
    """A commit that stays readable until it is released: a context manager.

    The pin also goes when the object is collected, and with the process.
    """

    def __init__(
        self,
        reader: Reader,
        state: State,
        unpin: Callable[[], None],
        closed: Callable[[], bool],
    ) -> None:
        super().__init__(reader, state)
        self._closed = closed
        self._finalizer = weakref.finalize(self, unpin)
        self._finalizer.atexit = False

    @property
    def commit(self) -> int:
        """Commit shown."""
        return self.state.commit

    @property
    def pinned(self) -> bool:
        """Whether the commit is still held."""
        return self._finalizer.alive

    def _check_open(self) -> None:
        if self._closed():
            raise StoreClosedError("the store is closed")

    def release(self) -> None:
        """Let the space of this commit be used again once nobody else needs it."""
        self._finalizer()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class ClosedEngine:
    """Whether an engine is closed, without keeping it alive."""

    def __init__(self, engine: Any) -> None:
        self._engine = weakref.ref(engine)

    def __call__(self) -> bool:
        engine = self._engine()
        return engine is None or engine.closed
