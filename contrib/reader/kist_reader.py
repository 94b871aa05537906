"""Reads kist files. Written from docs/format.md alone, without the code of kist.

Use it as a module (`Reader(path)`) or as a program: python kist_reader.py FILE [--json]
"""

from __future__ import annotations

import itertools
import json
import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from kist_arrays import ArraySchema, read_array, read_array_schema
from kist_indexes import Index, read_indexes
from kist_keystore import Key, read_entry, read_key
from kist_pages import Page, form_of, from_little
from kist_pieces import read_ordinals
from kist_ragged import read_page as read_cells_page
from kist_store import Entry, Pointer, Store
from kist_strings import read_page, read_rows
from kist_types import (
    RAGGED,
    Array,
    Cursor,
    Damage,
    KistError,
    Leaf,
    Schema,
    Unknown,
    decode_text,
    is_categorical,
    read_schema,
    read_value,
)

KINDS = {1: "group", 2: "table", 3: "array", 4: "key store", 5: "link"}
LINKS = {
    1: ("path",),
    2: ("file", "path", "version", "store"),
    3: ("paths",),
    4: (
        "path", "schema", "names", "files", "stores", "commits", "stamps", "stored", "groups",
        "rows", "live", "added", "statistics",
    ),
    5: (
        "file", "dtype", "shape", "order", "offset", "size", "mtime_ns", "block", "sums",
    ),
    6: ("path", "version", "names", "files", "stores", "dtype", "shape", "lengths"),
}  # fmt: skip
ROOT = 1
TAIL = (1 << 64) - 1


def numbers(form: str, rest: bytes) -> tuple[int, ...]:
    """The big-endian numbers in the rest of a key."""
    try:
        return struct.unpack(">" + form, rest)
    except struct.error as error:
        raise Damage("key of the map: length") from error


@dataclass(frozen=True)
class Node:
    """A node of the tree; its path begins with a slash."""

    id: int
    kind: str
    path: str


@dataclass(frozen=True)
class Group:
    """A record G: where some rows of a table are."""

    first: int
    kind: int
    schema_version: int
    rows: int
    live: int
    data: bytes
    entry: Entry


class View:
    """One commit of a store: its nodes, attributes and tables."""

    def __init__(
        self, store: Store, entries: Mapping[bytes, Entry], secrets: Sequence[bytes | str] = ()
    ) -> None:
        """A view of the map with these records; secrets open sealed columns."""
        self.store = store
        self.secrets = secrets
        self.records: dict[tuple[int, str], dict[bytes, Entry]] = {}
        sealed: dict[int, dict[bytes, Entry]] = {}
        for key, entry in entries.items():
            node, kind = int.from_bytes(key[:8], "big"), chr(key[8])
            if kind == "E" and key[9:13] == bytes(4):
                sealed.setdefault(node, {})[key[13:]] = entry
            else:
                self.records.setdefault((node, kind), {})[key[9:]] = entry
        self.sealed_places = sealed
        self.places: Any = None
        if sealed:
            from kist_sealed_groups import Places  # needs a further package

            self.places = Places(store, self.records, sealed, secrets)
        self.nodes: dict[str, Node] = {"/": Node(ROOT, "group", "/")}
        seen = {ROOT}
        self._children(self.nodes["/"], seen)

    def _of(self, node: int, kind: str) -> dict[bytes, Entry]:
        """The records of a node, by the rest of their keys."""
        return self.records.get((node, kind), {})

    def _children(self, group: Node, seen: set[int]) -> None:
        found = []
        for rest, entry in self._of(group.id, "D").items():
            cursor = Cursor(entry.payload, "child record")
            kind, ident = cursor.all("BQ")
            name = decode_text(cursor.rest() or rest, "name")
            if kind not in KINDS:
                raise Unknown(f"node of kind {kind}")
            if ident in seen or ident < 2:
                raise Damage(f"node {ident} stands in the tree twice")
            seen.add(ident)
            self._check_node(ident, kind, group.id)
            found.append(Node(ident, KINDS[kind], f"{group.path.rstrip('/')}/{name}"))
        for node in found:
            self.nodes[node.path] = node
            if node.kind == "group":
                self._children(node, seen)

    def _check_node(self, ident: int, kind: int, parent: int) -> None:
        entry = self._of(ident, "N").get(b"")
        if entry is None:
            raise Damage(f"node {ident} has no record")
        cursor = Cursor(entry.payload, "node record")
        mine, _, features, _, _, _, above = cursor.all("B7sQQQqQ")
        # 1: a key store that is sealed as a whole, or a sealed group
        if features & ~(kind in (1, 4)):
            raise Unknown(f"features {features:#x} of node {ident}")
        if mine != kind or above != parent:
            raise Damage(f"records of node {ident} differ")

    def attributes(self, path: str = "/", column: int = 0) -> dict[str, Any]:
        """The attributes of a node (column 0), or of its column with the id *column* - 1."""
        result: dict[str, Any] = {}
        node = self.nodes[path].id
        found = {
            rest: entry
            for rest, entry in self._of(node, "A").items()
            if numbers("I", rest[:4])[0] == column
        }
        if self.places is not None:
            opened: dict[str, Any] | None = self.places.attributes(node, found)
            if opened is not None:
                return opened
        for rest, entry in found.items():
            name = decode_text(rest[4:], "name")
            result[name] = read_value(self.store.payload(entry, "attribute"))
        return result

    def _secrets_of(self, node: int) -> Sequence[bytes | str]:
        """What opens the sealed fields of a dataset."""
        if self.places is None:
            return self.secrets
        found: Sequence[bytes | str] = self.places.secrets_of(node, self.secrets)
        return found

    def column_attributes(self, path: str) -> dict[str, dict[str, Any]]:
        """The attributes of the columns of a table, of those that have some."""
        result = {}
        for column in self.schema(path).columns:
            found = self.attributes(path, column.id + 1)
            if found:
                result[column.name] = found
        return result

    def schema(self, path: str) -> Schema:
        """The schema of a table."""
        node = self.nodes[path]
        if node.kind != "table":
            raise Unknown(f"{path} is a {node.kind}")
        entry = self._of(node.id, "S").get(b"")
        if entry is None:
            raise Damage(f"{path}: no schema")
        return read_schema(self.store.payload(entry, "schema"))

    def _groups(self, node: int) -> tuple[list[Group], Entry | None]:
        """All groups of rows in order, and the tail."""
        groups, tail = [], None
        after = 0
        for rest, entry in self._of(node, "G").items():
            (first,) = numbers("Q", rest)
            if first == TAIL:
                tail = entry
                continue
            cursor = Cursor(entry.payload, "row group")
            kind, _, version, rows, live = cursor.all("BBIII")
            if kind > 2:
                raise Unknown(f"row group of kind {kind}")
            if first < after or not 1 <= rows <= 65536 or live > rows:
                raise Damage("row groups: rows")
            after = first + rows
            groups.append(Group(first, kind, version, rows, live, cursor.rest(), entry))
        return groups, tail

    def table(self, path: str) -> Array:
        """All rows of a table that are not deleted."""
        schema = self.schema(path)
        node = self.nodes[path].id
        groups, tail = self._groups(node)
        fields = self._fields(node, schema)
        shown = self._shown(schema, fields)
        parts = [self._rows(node, schema, group, fields, shown) for group in groups]
        for kind in "PUX":
            for rest in self._of(node, kind):
                start = numbers({"P": "IQ", "U": "QQ", "X": "Q"}[kind], rest)[kind == "P"]
                if not any(group.first == start for group in groups):
                    raise Damage(f"{path}: a record {kind} without its row group")
        if tail is not None:
            mark, after, live = Cursor(tail.payload, "tail").all("BQQ")
            last = groups[-1].first + groups[-1].rows if groups else 0
            if mark != 3 or after < last or live != sum(map(len, parts)):
                raise Damage(f"{path}: tail and row groups differ")
        elif groups:
            raise Damage(f"{path}: no tail")
        result = np.concatenate([np.zeros(0, shown), *parts])
        return result.astype(shown, copy=False)

    def _fields(self, node: int, schema: Schema) -> Any:
        """The sealed fields of a table, None where it has none."""
        if not schema.fields and not self._of(node, "E"):
            return None
        from kist_sealed_tables import Fields  # needs a further package

        secrets = self._secrets_of(node)
        return Fields(self.store, node, schema, lambda kind: self._of(node, kind), secrets)

    def _shown(self, schema: Schema, fields: Any) -> np.dtype[Any]:
        """The dtype of the columns that are open, or were opened."""
        if fields is None:
            return schema.dtype
        names = [
            column.name
            for column in schema.columns
            if not column.virtual and (not column.field or column.field in fields.keys)
        ]
        described = schema.dtype.fields or {}
        return np.dtype([(name, described[name][0]) for name in names])

    def _rows(
        self, node: int, schema: Schema, group: Group, fields: Any, shown: np.dtype[Any]
    ) -> Array:
        """The live rows of one group."""
        leaves = [leaf for leaf in schema.leaves.values() if fields is None or fields.shows(leaf)]
        columns: dict[int, Array]
        if group.kind == 0:
            columns = {leaf.id: self._page(node, leaf, group, fields) for leaf in leaves}
        else:
            data = group.data
            if group.kind == 2:
                if len(group.entry.pointers) != 1:
                    raise Damage("row group: pointers")
                data = self.store.whole(group.entry.pointers[0])
                if fields is not None:
                    data = fields.outside(data, group.data)
            kept = schema.lived(group.schema_version)
            if fields is not None:
                columns = fields.rows(data, kept, group.rows)
            else:
                arrays = read_rows(data, kept, group.rows)
                columns = {leaf.id: array for leaf, array in zip(kept, arrays, strict=True)}
            for leaf in leaves:
                if leaf.id not in columns:
                    columns[leaf.id] = self._absent(leaf, group)
        self._patch(node, schema, group, columns, fields)
        live = self._live(node, group)
        result = np.zeros(int(live.sum()), shown)
        for leaf in leaves:
            target: Any = result
            for name in leaf.path:
                target = target[name]
            target[...] = columns[leaf.id][live].reshape(target.shape)
        return result

    def _page(self, node: int, leaf: Leaf, group: Group, fields: Any) -> Array:
        """The values of a leaf in a group that is kept as pages."""
        entry = self._of(node, "P").get(struct.pack(">IQ", leaf.id, group.first))
        if entry is None and not leaf.dtype.itemsize * leaf.values:
            return np.zeros((group.rows, leaf.values), leaf.dtype)
        if entry is None:
            return self._absent(leaf, group)
        keys = None if fields is None else fields.keys_of(leaf)
        if keys is not None:
            body, head, payload = fields.page(entry, keys)
        elif len(entry.pointers) != 1:
            raise Damage(f"leaf {leaf.id}: no page")
        else:
            pointer = entry.pointers[0]
            body, head, payload = self.store.body(pointer), pointer.head, entry.payload
        page = Page(body, head)
        noted = Cursor(payload, "page record").get("Q")
        if page.n_values != group.rows * leaf.values or noted != page.n_values:
            raise Damage(f"leaf {leaf.id}: number of values")
        if leaf.kind == 11:
            return read_page(page, leaf)
        if leaf.kind == RAGGED:
            return read_cells_page(page, leaf)
        values = from_little(page.decode(form_of(leaf)), leaf)
        return values.reshape(group.rows, leaf.values)

    def _absent(self, leaf: Leaf, group: Group) -> Array:
        """The values of a leaf that came later than the group."""
        if leaf.initial is None or group.schema_version >= leaf.since:
            raise Damage(f"leaf {leaf.id}: no page")
        if leaf.kind == RAGGED:
            cells = np.empty((group.rows, 1), object)
            for row in range(group.rows):
                cells[row, 0] = leaf.initial[0]
            return cells
        result = np.empty((group.rows, leaf.values), leaf.dtype)
        result[...] = leaf.initial
        return result

    def _patch(
        self, node: int, schema: Schema, group: Group, columns: dict[int, Array], fields: Any
    ) -> None:
        """Apply the patches of a group in order."""
        key = struct.pack(">Q", group.first)
        patches = {rest: entry for rest, entry in self._of(node, "U").items() if rest[:8] == key}
        for _, entry in sorted(patches.items()):
            if entry.pointers:
                if len(entry.pointers) != 1:
                    raise Damage("patch: pointers")
                data = self.store.whole(entry.pointers[0])
                if fields is not None:
                    data = fields.outside(data, entry.payload[5:])
                cursor = Cursor(data, "patch")
            else:
                cursor = Cursor(entry.payload, "patch")
                cursor.all("BI")
            for _ in range(cursor.get("H")):
                count, ordinal_size, value_size = cursor.all("HII")
                ids = [int(ident) for ident in cursor.array("<u4", count)]
                ordinals = read_ordinals(cursor.take(ordinal_size))
                piece = cursor.take(value_size)
                if any(a >= b for a, b in itertools.pairwise(ids)):
                    raise Damage("patch: leaves do not ascend")
                known = schema.leaves | schema.gone
                if any(ident not in known for ident in ids):
                    raise Damage("patch: a leaf that the schema does not have")
                if len(ordinals) and ordinals[-1] >= group.rows:
                    raise Damage("patch: ordinal outside the group")
                chosen = [known[ident] for ident in ids]
                if fields is not None:
                    if len({schema.fields.get(ident, 0) for ident in ids}) > 1:
                        raise Damage("patch: leaves of two fields")
                    if not fields.shows(chosen[0]):
                        continue
                    keys = fields.keys_of(chosen[0])
                    if keys is not None:
                        from kist_sealed import unseal

                        piece = unseal(piece, keys)
                arrays = read_rows(piece, chosen, len(ordinals))
                for ident, array in zip(ids, arrays, strict=True):
                    if ident not in schema.leaves:
                        continue  # its column is gone
                    values = columns[ident] = columns[ident].copy()
                    values[ordinals] = array
            cursor.end()

    def _live(self, node: int, group: Group) -> Array:
        """For each row of the group whether it is live."""
        live = np.ones(group.rows, bool)
        entry = self._of(node, "X").get(struct.pack(">Q", group.first))
        if entry is not None:
            cursor = Cursor(self.store.payload(entry, "deleted rows"), "deleted rows")
            mode, rows = cursor.all("BI")
            if rows != group.rows:
                raise Damage("deleted rows: rows of the group")
            if mode in (1, 2):
                lengths = cursor.array(f"<u{mode}", cursor.left // mode).astype(np.int64)
                if lengths.sum() != rows:
                    raise Damage("deleted rows: runs")
                live = np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)
            elif mode == 3:
                bits = np.unpackbits(cursor.array("u1", -(-rows // 8)), bitorder="little")
                live = bits[:rows] == 0
            else:
                raise Unknown(f"deleted rows of mode {mode}")
            cursor.end()
        if int(live.sum()) != group.live:
            raise Damage("row group: number of live rows")
        return live

    def categories(self, path: str) -> dict[str, list[Any]]:
        """The categories of each categorical column of a table, in the order of their codes.

        Without those of sealed columns that no secret opens.
        """
        schema, node = self.schema(path), self.nodes[path].id
        result: dict[str, list[Any]] = {}
        fields = self._fields(node, schema)
        for column in schema.columns:
            if column.expression is not None or not is_categorical(column.described.dtype):
                continue
            path_of = (column.name, "code")
            mine = [leaf.id for leaf in schema.leaves.values() if leaf.path == path_of]
            found: list[Any] = []
            if column.field and column.field not in fields.keys:
                continue
            for rest, entry in sorted(self._of(node, "Y").items()):
                leaf, code = numbers("IQ", rest)
                if leaf not in mine:
                    continue
                if code != len(found) + 1:
                    raise Damage(f"{path}: categories of {column.name!r} have a gap")
                if column.field:
                    run = read_value(fields.categories(entry, column.field))
                else:
                    run = read_value(self.store.payload(entry, "categories"))
                found += run.tolist() if isinstance(run, np.ndarray) else list(run)
            if len(set(found)) < len(found):
                raise Damage(f"{path}: a category of {column.name!r} twice")
            result[column.name] = found
        return result

    def _check_codes(self, path: str, rows: Array) -> None:
        for name, found in self.categories(path).items():
            if len(rows) and int(rows[name]["code"].max()) > len(found):
                raise Damage(f"{path}: a code of {name!r} that stands for nothing")

    def indexes(self, path: str) -> list[Index]:
        """The indexes of a table, with runs where these count; all that they say is checked."""
        node = self.nodes[path].id
        _, tail = self._groups(node)
        stamp = b"" if tail is None else Cursor(tail.payload, "tail").all("BQQI8s")[4]
        schema = self.schema(path)
        fields = self._fields(node, schema)
        return read_indexes(self.store, self._of(node, "I"), schema, stamp, fields)

    def keystore(self, path: str) -> Iterator[tuple[Key, Any]]:
        """The keys and values of a key store, in order."""
        node = self.nodes[path]
        if node.kind != "key store":
            raise Unknown(f"{path} is a {node.kind}")
        bounds = self._of(node.id, "B").get(b"")
        entries = self._of(node.id, "K")
        if bounds is None or Cursor(bounds.payload, "counts").all("QQQ")[0] != len(entries):
            raise Damage(f"{path}: number of keys")
        if self._is_sealed(node.id):
            field, InMemory = self._field(node.id)
            field.verify(lambda kind: self._of(node.id, kind), "B")
            for packed, opened in field.entries(entries):
                yield read_key(packed), read_entry(InMemory(), opened)
            return
        if self._of(node.id, "E"):
            raise Damage(f"{path}: keys of a sealed key store that is not sealed")
        for packed, entry in sorted(entries.items()):
            yield read_key(packed), read_entry(self.store, entry)

    def link(self, path: str) -> dict[str, Any]:
        """Where a link leads: its form and the fields of that form. Nothing is followed."""
        node = self.nodes[path]
        entry = self._of(node.id, "L").get(b"")
        if node.kind != "link" or entry is None:
            raise Damage(f"{path}: no link")
        payload = self.store.payload(entry, "link")
        version, form, _ = Cursor(payload[:8], "link").all("BB6s")
        if version != 1 or form not in LINKS:
            raise Unknown(f"{path}: link of form {form}, version {version}")
        said = read_value(payload[8:])
        if not isinstance(said, dict) or any(name not in said for name in LINKS[form]):
            raise Damage(f"{path}: where the link leads")
        if form == 4:
            self._check_parts(path, said)
        lengths = said["lengths"].tolist() if form == 6 else []
        if form == 6 and (
            not len(said["files"]) == len(said["stores"]) == len(lengths) > 0
            or said["shape"][:1] != [sum(lengths)]
        ):
            raise Damage(f"{path}: lengths of the lists of linked arrays")
        known = [*LINKS[form], *(("categories",) if form == 4 and "categories" in said else ())]
        return {"form": form, **{name: said[name] for name in known}}

    def _check_parts(self, path: str, said: dict[str, Any]) -> None:
        """The lists of a linked table belong together."""
        schema, n = read_schema(said["schema"]), len(said["files"])
        lists = ("stores", "commits", "stamps", "stored", "groups")
        total = int(said["groups"].sum())
        if any(len(said[name]) != n for name in lists) or any(
            len(said[name]) != total for name in ("rows", "live")
        ):
            raise Damage(f"{path}: lengths of the lists of a linked table")
        if any(leaf not in schema.leaves or len(said["statistics"][leaf]) % n
               for leaf in said["statistics"]):  # fmt: skip
            raise Damage(f"{path}: statistics of a linked table")
        lists = said.get("categories", {})
        if not isinstance(lists, dict) or any(leaf not in schema.leaves for leaf in lists):
            raise Damage(f"{path}: categories of a linked table")

    def array_schema(self, path: str) -> ArraySchema:
        """The schema of an array."""
        node = self.nodes[path]
        if node.kind != "array":
            raise Unknown(f"{path} is a {node.kind}")
        entry = self._of(node.id, "S").get(b"")
        if entry is None:
            raise Damage(f"{path}: no schema")
        return read_array_schema(self.store.payload(entry, "array schema"))

    def array(self, path: str) -> Array:
        """All elements of an array."""
        schema = self.array_schema(path)
        node = self.nodes[path].id
        bounds = self._of(node, "B").get(b"")
        if bounds is None:
            raise Damage(f"{path}: no bounds")
        segments = self._of(node, "C")
        if not schema.sealed:
            if self._of(node, "E"):
                raise Damage(f"{path}: keys of a sealed array that is not sealed")
            return read_array(self.store, schema, bounds.payload, segments)
        field, InMemory = self._field(node)
        field.verify(lambda kind: self._of(node, kind), "SBC")
        entry = self._of(node, "S")[b""]
        schema = read_array_schema(self.store.payload(entry, "schema"), field.more)
        opened = {rest: field.open(entry) for rest, entry in segments.items()}
        return read_array(InMemory(), schema, bounds.payload, opened)

    def _is_sealed(self, node: int) -> bool:
        """Whether the record of a key store says that it is sealed as a whole."""
        return bool(Cursor(self._of(node, "N")[b""].payload, "node record").all("B7sQ")[2])

    def _shut(self, node: int) -> bool:
        """Whether a dataset is sealed as a whole, and no secret opens it."""
        if not self._of(node, "E"):
            return False
        if not self._secrets_of(node):
            return True
        from kist_sealed import WrongSecret

        try:
            self._field(node)
        except WrongSecret:
            return True
        return False

    def _field(self, node: int) -> Any:
        """The field of a dataset that is sealed as a whole, and what gives its bodies."""
        from kist_sealed_datasets import Field, InMemory  # needs a further package

        secrets = self._secrets_of(node)
        field = Field(self.store, node, lambda kind: self._of(node, kind), secrets)
        return field, InMemory

    def _hides(self, node: int) -> bool:
        """Whether a node stands in a sealed group that no secret opens."""
        return (
            self.places is not None
            and self.places.group_of(node) is not None
            and not self._secrets_of(node)
        )

    def pointers(self) -> Iterator[tuple[str, Pointer]]:
        """All extents that the records of the map own, with the kinds of the records."""
        for found in self.sealed_places.values():
            for entry in found.values():
                for pointer in entry.pointers:
                    yield "E", pointer
        for (_, kind), entries in self.records.items():
            for entry in entries.values():
                for pointer in entry.pointers:
                    yield kind, pointer

    def verify(self) -> None:
        """Verify the frames of all records, and decode all that they hold."""
        types = {
            "A": b"BLOB",
            "C": b"NPAG",
            "G": b"ROWS",
            "I": b"NPAG",
            "K": b"KVAL",
            "L": b"BLOB",
            "P": b"NPAG",
            "S": b"BLOB",
            "U": b"ROWS",
            "X": b"BLOB",
            "Y": b"BLOB",
        }
        for kind, pointer in self.pointers():
            expected = (types[kind],) if kind in types else ()
            self.store.check_frame(pointer, (*expected, b"SEAL") if kind in "APCKIY" else expected)
        for path, node in self.nodes.items():
            columns = {numbers("I", rest[:4])[0] for rest in self._of(node.id, "A")}
            for column in () if self._hides(node.id) else columns:
                self.attributes(path, column)
            if node.kind == "table":
                self._check_codes(path, self.table(path))
                self.indexes(path)
            if node.kind == "link":
                self.link(path)
            if node.kind == "array" and not self._shut(node.id):
                self.array(path)
            if node.kind == "key store" and not self._shut(node.id):
                for _ in self.keystore(path):
                    pass


@dataclass(frozen=True)
class Version:
    """A kept version."""

    commit: int
    shown: int
    time_ns: int
    end: int
    next_node: int
    root: bytes
    retained: int
    message: str


class Reader(View):
    """A kist file: the newest commit, tags and kept versions."""

    def __init__(self, path: str | os.PathLike[str], secrets: Sequence[bytes | str] = ()) -> None:
        """Open a file; raises `KistError` for what cannot be read."""
        store = Store(path, secrets)
        try:
            super().__init__(store, store.entries, secrets)
            self.versions = {item.commit: item for item in self._versions()}
            self.tags = self._tags()
        except BaseException:
            store.close()
            raise

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    @property
    def shown(self) -> int:
        """The newest commit that is not maintenance."""
        seen = [commit for commit, _, flags, _ in self.store.history if not flags & 1]
        return max(seen, default=self.store.slot.commit)

    def _versions(self) -> Iterator[Version]:
        for rest, entry in self._of(0, "V").items():
            cursor = Cursor(entry.payload, "kept version")
            version = Version(*(*cursor.all("QQqQQ44sB"), decode_text(cursor.rest(), "message")))
            if (version.commit,) != numbers("Q", rest):
                raise Damage("kept version: commit")
            yield version

    def _tags(self) -> dict[str, tuple[int, int]]:
        result = {}
        for rest, entry in self._of(0, "T").items():
            cursor = Cursor(entry.payload, "tag")
            result[decode_text(rest, "name of a tag")] = cursor.all("QQ")
            cursor.end()
        for name, (commit, _) in result.items():
            if commit not in self.versions:
                raise Damage(f"tag {name}: its version is not kept")
        return result

    def at(self, version: str | int) -> View:
        """A kept version, by its tag or its commit."""
        commit = self.tags[version][0] if isinstance(version, str) else version
        content = self.store.load_entries(self.versions[commit].root)
        return View(self.store, content, self.secrets)

    def verify(self) -> None:
        """Verify all sums, of kept versions too, decode everything, and check the space."""
        super().verify()
        for pointer in self.store.tree_pages:
            self.store.check_frame(pointer, (b"TREE",))
        for commit in self.versions:
            self.at(commit).verify()
        self.store.check_space()


def show(reader: Reader) -> None:
    """Print what a file holds."""
    store = reader.store
    print(f"commit {store.commit}, {len(reader.nodes)} nodes")
    for path, node in sorted(reader.nodes.items()):
        print(path, f"({node.kind})")
        for name, value in reader.attributes(path).items():
            print(f"    {name} = {value!r}")
        if node.kind == "table":
            rows = reader.table(path)
            print(f"    {len(rows)} rows of {rows.dtype}")
            print("    " + str(rows[:5]).replace("\n", "\n    "))
        if node.kind == "key store":
            for key, _ in itertools.islice(reader.keystore(path), 5):
                print(f"    key {key!r}")
    for name, (_, shown) in sorted(reader.tags.items()):
        print(f"tag {name}: commit {shown}")
    for commit, version in sorted(reader.versions.items()):
        print(f"kept: commit {commit}, shows {version.shown}")
    for note in store.notes:
        print("note:", note)


def main(arguments: list[str]) -> int:
    """The program."""
    as_json = "--json" in arguments
    names = [name for name in arguments if name != "--json"]
    if len(names) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with Reader(names[0]) as reader:
            reader.verify()
            if as_json:
                from kist_json import describe

                json.dump(describe(reader, names[0]), sys.stdout, indent=2, ensure_ascii=False)
                print()
            else:
                show(reader)
    except (KistError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
