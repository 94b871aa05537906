"""A kist file taken apart and put together again, with every checksum made right.

`Image` knows the bytes of a file and nothing of opening it: it reads slots, log and map with
`kist.format`, changes what it is told to, and repairs the sums on the way up, as somebody would who
wants a hostile file to be believed. Nothing is checked: that is for those who open the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kist.format import keys, layout
from kist.format.checksum import sum128
from kist.format.frame import FrameHeader, unpack_frame
from kist.format.log import Op, Record, unpack_record_at
from kist.format.node import NodeRecord
from kist.format.superblock import Slot, unpack_slot, unpack_super
from kist.format.tree import pack_tree_page, unpack_tree_page
from kist.format.values import Pointer, extent_length

__all__ = ["Image", "TreePage"]

MOST_OPS = 30_000
"""Bytes of keys and values that one more record of the log may hold."""


class TreePage:
    """One page of the tree, and the way to it.

    Attributes
    ----------
    body : bytes
        As stored.
    path : tuple of (TreePage, int)
        The pages above it, from the root down, with the place of the child in each.
    """

    def __init__(self, body: bytes, path: tuple[tuple[TreePage, int], ...]) -> None:
        self.body = body
        self.path = path
        self.level, self.keys, self.values = unpack_tree_page(body)


class Image:
    """The bytes of a closed store, to be changed.

    Parameters
    ----------
    data : bytes
        A whole file, as a store leaves it that was closed in order.
    """

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.super = unpack_super(bytes(data[: layout.HEAD_BYTES]), "image")
        self.uuid = self.super.uuid
        slots = [unpack_slot(bytes(data[at:]), self.uuid) for at in layout.SLOT_OFFSETS]
        found = [(slot.checkpoint, at) for at, slot in enumerate(slots) if slot is not None]
        self.slots = slots
        self.newest = max(found)[1]
        self.records = list(self._walk())
        # Of the used part, which may be behind that of the file: its last bytes may not be written.
        self.end = self._head()[1]
        self._appended: list[tuple[int, int]] = []  # extents that no record lists as used

    @property
    def slot(self) -> Slot:
        """The newer slot."""
        slot = self.slots[self.newest]
        assert slot is not None
        return slot

    # The log

    def _walk(self) -> Iterator[Record]:
        position, last = self.slot.position, self.slot.chain
        while True:
            near = [-(-position // 64) * 64, -(-position // layout.BLOCK) * layout.BLOCK]
            for place in (*near, layout.RING_OFFSET, layout.RING_OFFSET + self.super.ring_half):
                record = unpack_record_at(bytes(self.data), place, place, self.uuid)
                if record is not None and record.parent == last:
                    break
            else:
                return
            if record.kind == layout.COMMIT_MARK:
                return
            yield record
            position, last = place + record.size, record.sum

    def _head(self) -> tuple[int, int, int]:
        """(commit, end, next node) of the newest commit."""
        last = self.records[-1] if self.records else self.slot
        return last.commit, last.end, last.next_node

    def add(self, ops: Sequence[Op]) -> Record:
        """Put one more commit behind the last one."""
        commit, _, next_node = self._head()
        position = self.slot.position
        if self.records:
            position = self.records[-1].position + self.records[-1].size
        record = Record(
            layout.COMMIT_CHANGES, commit + 1, -(-position // 64) * 64, 0, commit,
            len(self.data), next_node, b"", ops=list(ops), used=self._appended,
        )  # fmt: skip
        self.records.append(record)
        self._appended = []
        return record

    def pack_log(self) -> None:
        """Write slot and records anew, each behind the one before it and with its sum."""
        end = max(self.end, len(self.data))
        slot = self.slots[self.newest] = self.slot._replace(end=end)
        self._write(layout.SLOT_OFFSETS[self.newest], slot.pack(self.uuid))
        last, position = slot.chain, 0
        for record in self.records:
            record.parent, record.end = last, end
            record.position = max(record.position, -(-position // 64) * 64)
            self._write(record.position, record.pack(self.uuid))
            last, position = record.sum, record.position + record.size

    def _write(self, at: int, data: bytes) -> None:
        self.data[at : at + len(data)] = data

    # The map

    @property
    def root(self) -> Pointer | None:
        """Where the tree begins."""
        for record in reversed(self.records):
            if record.kind == layout.COMMIT_ROOT:
                return record.root
        return self.slot.root

    @root.setter
    def root(self, pointer: Pointer | None) -> None:
        for record in reversed(self.records):
            if record.kind == layout.COMMIT_ROOT:
                record.root = pointer
                return
        self.slots[self.newest] = self.slot._replace(root=pointer)

    def pages(self) -> list[TreePage]:
        """All pages of the tree, each before those below it."""
        out: list[TreePage] = []

        def below(pointer: Pointer, path: tuple[tuple[TreePage, int], ...]) -> None:
            page = TreePage(self.body(pointer), path)
            out.append(page)
            for at, value in enumerate(page.values if page.level else ()):
                below(Pointer.unpack(value), (*path, (page, at)))

        if self.root is not None:
            below(self.root, ())
        return out

    def entries(self) -> dict[bytes, bytes]:
        """The map, as the newest commit shows it."""
        found: dict[bytes, bytes] = {}
        for page in self.pages():
            if not page.level:
                found |= zip(page.keys, page.values, strict=True)
        start = 1 + max(
            (at for at, r in enumerate(self.records) if r.kind == layout.COMMIT_ROOT), default=-1
        )
        for record in self.records[start:]:
            for op, key, value in record.ops:
                if op == layout.OP_PUT:
                    found[key] = value
                elif op == layout.OP_DELETE:
                    found.pop(key, None)
                else:
                    found = {k: v for k, v in found.items() if not key <= k < value}
        return dict(sorted(found.items()))

    def replace_page(self, page: TreePage, body: bytes) -> None:
        """Give a page of the tree another body, and those above it the pointers to it."""
        pointer = self.append(layout.FRAME_TREE, body)
        for parent, at in reversed(page.path):
            values = [*parent.values]
            values[at] = pointer.pack()
            new = pack_tree_page(parent.level, parent.keys, values)
            pointer = self.append(layout.FRAME_TREE, new)
        self.root = pointer

    def path_of(self, node: int, entries: dict[bytes, bytes]) -> str | None:
        """Path of a node by the records of its parents, None when there is none."""
        names: list[str] = []
        while node != keys.ROOT and len(names) < 64:
            value = entries.get(keys.node(node))
            if value is None:
                return None
            found = NodeRecord.unpack(value)
            names.append(found.name)
            node = found.parent
        return "/" + "/".join(reversed(names))

    # Extents

    def body(self, pointer: Pointer) -> bytes:
        """Body of the frame that a pointer names."""
        start = pointer.offset + layout.FRAME.size
        return bytes(self.data[start : start + pointer.length])

    def header(self, pointer: Pointer) -> FrameHeader | None:
        """Header of that frame."""
        return unpack_frame(bytes(self.data[pointer.offset : pointer.offset + layout.FRAME.size]))

    def append(
        self, kind: bytes, body: bytes, head: int | None = None, like: FrameHeader | None = None
    ) -> Pointer:
        """Put a frame behind all others; `like` names node, column and row."""
        commit = self._head()[0]
        self.data += bytes(-len(self.data) % layout.ALIGNMENT)
        offset, size = len(self.data), len(body) if head is None else head
        total = sum128(body[:size])
        node, column, row = (like.node, like.column, like.row) if like else (0, 0, 0)
        header = FrameHeader(
            kind, offset, self.uuid, node, column, row, commit, len(body), size, total
        )
        frame = header.pack() + body
        self.data += frame + bytes(extent_length(len(body)) - len(frame))
        self._appended.append((offset, extent_length(len(body))))
        return Pointer(offset, len(body), size, commit, total)
