"""What a link says of its parts: each file is opened once, now, and what is known of it noted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist.errors import DTypeError, SelectionError, ShapeError, TooLargeError
from kist.format.dtypes import pack_dtype
from kist.format.link import LinkForm, LinkRecord
from kist.format.schema import Leaf, Schema
from kist.indexes.statistics import Bounds, Statistics, bound_dtype, compute
from kist.model.arrays.array import Array as StoredArray
from kist.model.parts.unequal import fit_of, table_difference, unequal
from kist.model.tables.stored.read import group_spans, read_leaves
from kist.model.tables.stored.statistics import recoded
from kist.model.tables.table import Table
from kist.model.unions.backend import MAX_FILES
from kist.model.unions.categories import MergedLists, pack_list

if TYPE_CHECKING:
    from kist.model.store import Store
    from kist.model.tables.stored.state import TableState

__all__ = ["gather", "record_bytes"]

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]

_MOST_COUNTED: Final = (1 << 32) - 1


def gather(
    store: Store,
    link: str,
    files: Iterable[tuple[str, str]],
    path: str,
    version: int | str | None = None,
    progress: Progress | None = None,
) -> LinkRecord:
    """Return what a link says of the tables, or arrays, at one path of some files.

    Parameters
    ----------
    store, link : Store, str
        The link.
    files : iterable of (str, str)
        Name relative to the folder of the store, and real path.
    path : str
        Of the dataset in each.
    version : int or str, optional
        Commit or tag of each file; by default the newest commit.

    Raises
    ------
    DTypeError, ShapeError
        One does not fit the first; shows the difference.
    SelectionError
        There is none, one is neither table nor array, or there are both.
    LinkError
        A file cannot be opened.
    """
    wanted = list(files)
    if not wanted:
        raise SelectionError("a link of parts is of at least one file")
    if len(wanted) > MAX_FILES:
        raise TooLargeError(f"{len(wanted):,} files; a link is of at most {MAX_FILES:,}")
    notes: _Tables | _Arrays | None = None
    for done, (name, real) in enumerate(wanted, 1):
        with store._links.fresh(real, version, link) as other:
            node = other[path]
            if not isinstance(node, Table | StoredArray) or node._store is not other:
                raise SelectionError(f"{path!r} of {name!r} is no table and no array: {node!r}")
            if notes is None:
                notes = _Tables(path) if isinstance(node, Table) else _Arrays(path)
            notes.add(name, other, node)
        if progress is not None:
            progress(done, len(wanted))
    assert notes is not None
    said: dict[str, Any] = {"path": path, "files": [name for name, _ in wanted]}
    if version is not None or notes.form == LinkForm.ARRAYS:
        said["version"] = version
    return LinkRecord(notes.form, {**said, **notes.said()})


class _Arrays:
    """Notes of arrays."""

    form = LinkForm.ARRAYS

    def __init__(self, path: str) -> None:
        self._path = path
        self._first = ""
        self._stores: list[bytes] = []
        self._lengths: list[int] = []

    def add(self, name: str, store: Store, array: Any) -> None:
        """Take note of one; raises as `gather`."""
        if not isinstance(array, StoredArray):
            raise _two_kinds(self._path, name, "a table", self._first, "an array")
        state = array._state()
        if not state.shape:
            raise ShapeError(f"array {self._path!r} of {name!r} has no axis along which to join it")
        if not self._stores:
            self._first, self._dtype, self._rest = name, state.dtype, state.shape[1:]
        if state.dtype != self._dtype:
            raise DTypeError(
                f"array {self._path!r} of {name!r} is of {state.dtype}, that of {self._first!r} "
                f"of {self._dtype}"
            )
        if state.shape[1:] != self._rest:
            raise ShapeError(
                f"array {self._path!r} of {name!r} has shape {state.shape}, that of "
                f"{self._first!r} {(self._lengths[0], *self._rest)}; only the first axes may differ"
            )
        self._stores.append(store.uuid)
        self._lengths.append(state.shape[0])

    def said(self) -> dict[str, Any]:
        """Return the fields of the record."""
        return {
            "dtype": pack_dtype(self._dtype),
            "shape": [sum(self._lengths), *self._rest],
            "stores": self._stores,
            "lengths": np.array(self._lengths, "<u8"),
        }


class _Tables:
    """Notes of tables."""

    form = LinkForm.PARTS

    def __init__(self, path: str) -> None:
        self._path = path
        self._parts: list[_Part] = []

    def add(self, name: str, store: Store, table: Any) -> None:
        """Take note of one; raises as `gather`."""
        if not isinstance(table, Table):
            raise _two_kinds(self._path, name, "an array", self._parts[0].file, "a table")
        state = table._state()
        if not self._parts:
            self._schema = state.schema
            # Those of sealed columns would stand in the link in clear: `Parts` reads them.
            clear = {c.first_leaf for c in state.facts.categorical if not c.field}
            self._lists = MergedLists(self._schema, clear)
        schema = self._schema
        if lines := table_difference(schema, state.schema):
            hint = "cast_column() gives columns other dtypes, add_column() adds some"
            raise unequal(f"table {self._path!r} of {name!r}", lines, self._parts[0].file, hint)
        codes = self._lists.add(f"{self._path!r} of {name!r}", state)
        self._parts.append(_Part.of(name, store, table, state, schema, codes))

    def said(self) -> dict[str, Any]:
        """Return the fields of the record."""
        found, groups = self._parts, [part.groups for part in self._parts]
        lists = {leaf: pack_list(known) for leaf, known in self._lists.lists().items()}
        return {
            **({"categories": lists} if lists else {}),
            "schema": self._schema.pack(),
            "stores": [part.store for part in found],
            "commits": np.array([part.commit for part in found], "<u8"),
            "stamps": [part.stamp for part in found],
            "stored": np.array([part.stored for part in found], "<u8"),
            "groups": np.array([len(sizes) for sizes in groups], "<u4"),
            "rows": np.concatenate([sizes[:, 0] for sizes in groups]).astype("<u4"),
            "live": np.concatenate([sizes[:, 1] for sizes in groups]).astype("<u4"),
            "added": sorted(set().union(*(part.added for part in found))),
            "statistics": _by_leaf(self._schema, found),
        }


def _two_kinds(path: str, name: str, kind: str, first: str, other: str) -> SelectionError:
    return SelectionError(f"{path!r} of {name!r} is {kind}, and that of {first!r} {other}")


class _Part(NamedTuple):
    """One table, as it is linked."""

    file: str
    store: bytes
    commit: int
    stamp: bytes
    stored: int
    groups: Array
    added: set[int]
    statistics: dict[int, bytes]

    @classmethod
    def of(
        cls,
        name: str,
        store: Store,
        table: Table,
        state: TableState,
        schema: Schema,
        codes: Mapping[int, Array],
    ) -> _Part:
        fit = fit_of(state.schema, schema)
        sizes = [(group.n_rows, group.n_live) for group in state.layout.groups]
        return cls(
            name,
            store.uuid,
            store.commit_id,
            state.tail.stamp,
            table.nbytes_stored,
            np.array(sizes, "<u4").reshape(-1, 2),
            {new for new, old in fit.leaves.items() if old.id in state.added},
            {
                new: packed
                for new, old in fit.leaves.items()
                if (packed := _summed_up(state, old, codes.get(new))) is not None
            },
        )


def _by_leaf(schema: Schema, parts: list[_Part]) -> dict[int, bytes]:
    """Return, per leaf of which something is known, the records of all parts one by one."""
    found = {}
    for leaf in (*schema.leaves, *schema.stored):
        if any(leaf.id in part.statistics for part in parts):
            blank = bytes(record_bytes(leaf))
            found[leaf.id] = b"".join(part.statistics.get(leaf.id, blank) for part in parts)
    return found


def record_bytes(leaf: Leaf) -> int:
    """Return the length of a statistics record of a leaf."""
    return len(Statistics(leaf.dtype).pack())


def _summed_up(state: TableState, leaf: Leaf, codes: Array | None) -> bytes | None:
    """Return statistics of all values of a leaf; None where nothing is known of some of them.

    Of codes as they are in the list of the whole, which `codes` has by those of the table.
    """
    if leaf.id in state.facts.sealed:
        return None  # they would stand in the link in clear
    if leaf.is_virtual or leaf.n_values != 1 or bound_dtype(leaf.dtype) is None:
        return None
    bounds = state.bounds(leaf)
    several = [bounds] if bounds.known.any() else []
    records = []
    for group, known in zip(state.layout.groups, bounds.known.tolist(), strict=True):
        if known:
            continue
        if group.is_pages:
            return None  # its values would have to be decoded
        span = group_spans(state, group)
        values = np.empty(len(span.ordinals), leaf.dtype)
        read_leaves(state, [span], [leaf], [values])
        one = compute(values)
        if one is None or not (one.empty or one.lo is not None):
            return None
        records.append(one.pack())
    if records:
        several.append(Bounds.from_packed(records, leaf.dtype))
    every = Bounds.joined(several, leaf.dtype)
    if codes is not None:
        every = recoded(every, codes)
        if not every.known.all():
            return None  # a code beyond the list: damage, which reading names
    n_nan = min(int(every.n_nan.sum(dtype="u8")), _MOST_COUNTED)
    n_null = min(int(every.n_null.sum(dtype="u8")), _MOST_COUNTED)
    full = every.known & ~every.empty
    if not full.any():
        return Statistics(leaf.dtype, n_nan=n_nan, n_null=n_null, empty=True).pack()
    los, his = every.lo[full], every.hi[full]
    # NumPy has no least of bytes.
    lo, hi = (min(los.tolist()), max(his.tolist())) if los.dtype.kind == "S" else (
        los.min(), his.max()
    )  # fmt: skip
    return Statistics(leaf.dtype, lo, hi, n_nan, n_null).pack()
