"""Records of the hierarchy: what a node is, and what a group says about a child.

A node knows its parent and its name, so that damage found in any of its records can be named by
path, and a group lists its children without touching their records (docs/format.md, "Nodes").
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Final, NamedTuple

from kist.errors import CorruptDataError, ReadOnlyError, UnsupportedVersionError
from kist.format.layout import KNOWN_WRITE_FEATURES, NODE_SEALED, FieldTable
from kist.format.values import pack_record, unpack_record

__all__ = ["CHILD", "MAX_NAME", "NODE", "Child", "NodeKind", "NodeRecord", "a_kind", "article"]

MAX_NAME: Final = 255
"""Longest name of a node or attribute, in bytes of UTF-8, as on most file systems."""

NODE: Final = FieldTable(
    "Node record",
    (
        ("kind", "B", "1 group, 2 table, 3 array, 4 key store, 5 link"),
        ("reserved0", "7x", "zeros"),
        ("features_read", "Q", "a reader of the node must know every bit"),
        ("features_write", "Q", "a writer of the node must know every bit"),
        ("features_ignorable", "Q", "bits that may be unknown"),
        ("created_ns", "q", "time of creation, ns since 1970 UTC"),
        ("parent", "Q", "node id of the group it stands in; its name follows in UTF-8"),
    ),
)

CHILD: Final = FieldTable(
    "Child record",
    (
        ("kind", "B", "as in the node record"),
        ("node", "Q", "node id; the name follows in UTF-8 if it differs from that of the key"),
    ),
)


class NodeKind(enum.IntEnum):
    """What a node is; the numbers are frozen in the format."""

    GROUP = 1
    TABLE = 2
    ARRAY = 3
    KEYSTORE = 4
    LINK = 5

    @property
    def label(self) -> str:
        """The kind in words."""
        return "key store" if self is NodeKind.KEYSTORE else self.name.lower()


def a_kind(kind: int) -> str:
    """Return the kind in words, with its article."""
    return article(kind_label(kind))


def article(word: str) -> str:
    """Return a word behind "a" or "an"."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def kind_label(kind: int) -> str:
    """Return the kind in words, also one that this kist does not know."""
    try:
        return NodeKind(kind).label
    except ValueError:
        return f"node of unknown kind {kind}"


class NodeRecord(NamedTuple):
    """The record of one node.

    Attributes
    ----------
    kind : int
        A `NodeKind`, or a number that only a newer kist knows.
    parent : int
        Node id of the group it stands in.
    name : str
        Its name there, as given.
    created_ns : int
        Tells a node from another that took its id after a rollback.
    """

    kind: int
    parent: int
    name: str
    created_ns: int
    features_read: int = 0
    features_write: int = 0
    features_ignorable: int = 0

    def pack(self) -> bytes:
        """Value of the ``N`` record."""
        fixed = NODE.pack(
            kind=self.kind,
            features_read=self.features_read,
            features_write=self.features_write,
            features_ignorable=self.features_ignorable,
            created_ns=self.created_ns,
            parent=self.parent,
        )
        return pack_record(fixed + self.name.encode())

    @classmethod
    @lru_cache(maxsize=256)
    def unpack(cls, value: bytes) -> NodeRecord:
        """Node from its ``N`` record; those of the last nodes are kept.

        Raises
        ------
        CorruptDataError
            The record is too short, or its name is not UTF-8.
        """
        payload = unpack_record(value)[1]
        if len(payload) < NODE.size:
            raise CorruptDataError(
                f"a node record of {len(payload)} bytes, at least {NODE.size} expected"
            )
        return cls(name=_text(payload[NODE.size :]), **NODE.unpack(payload))

    def moved(self, parent: int, name: str) -> NodeRecord:
        """Return the record of the node in another place."""
        return self._replace(parent=parent, name=name)

    def check_writable(self, path: str) -> None:
        """Raise `ReadOnlyError` when a writer of the node must know what this kist does not."""
        unknown = self.features_write & ~KNOWN_WRITE_FEATURES
        if unknown:
            raise ReadOnlyError(
                f"{path!r} needs features {unknown:#x} to be changed; use a newer kist"
            )

    @property
    def is_sealed(self) -> bool:
        """Whether it is a key store that is sealed as a whole."""
        return self.kind == NodeKind.KEYSTORE and bool(self.features_read & NODE_SEALED)

    def sealed(self) -> NodeRecord:
        """Return the record of the node, sealed."""
        return self._replace(features_read=self.features_read | NODE_SEALED)

    @property
    def unknown_features(self) -> int:
        """What a reader of the node must know, and this one does not."""
        known = NODE_SEALED if self.kind in (NodeKind.KEYSTORE, NodeKind.GROUP) else 0
        return self.features_read & ~known

    def check_readable(self, path: str) -> None:
        """Raise `UnsupportedVersionError` when the node needs what this kist does not know."""
        unknown = self.unknown_features
        if unknown:
            raise UnsupportedVersionError(
                f"{path!r} needs features {unknown:#x} to be read; use a newer kist"
            )


class Child(NamedTuple):
    """Entry of a group.

    Its key holds the name in Unicode's form NFC, so that two names which look the same cannot
    stand side by side; the name as given follows in the value when it is another.
    """

    name: str
    kind: int
    node: int

    def pack(self, key_name: str) -> bytes:
        """Value of the ``D`` record whose key holds `key_name`."""
        fixed = CHILD.pack(kind=self.kind, node=self.node)
        return pack_record(fixed if self.name == key_name else fixed + self.name.encode())

    @classmethod
    def unpack(cls, key_name: str, value: bytes) -> Child:
        """Entry from its ``D`` record.

        Raises
        ------
        CorruptDataError
            The record is too short, or its name is not UTF-8.
        """
        payload = unpack_record(value)[1]
        if len(payload) < CHILD.size:
            raise CorruptDataError(
                f"a child record of {len(payload)} bytes, at least {CHILD.size} expected"
            )
        kind, node = CHILD.struct.unpack_from(payload)
        own = payload[CHILD.size :]
        return cls(_text(own) if own else key_name, kind, node)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"a name is not UTF-8: {error.reason}") from None
