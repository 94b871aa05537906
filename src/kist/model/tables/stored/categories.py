"""The categories of a column: read from their records, codes to values and back, new ones put.

The list of a column stands in ``Y`` records, each a run of categories behind those of the one
before. New categories go into a record of their own, which takes in the shorter runs before it:
so a column that grows one by one writes each category a few times, and never all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from kist._kernels.strings import put_words, words_of
from kist.engine import Frame
from kist.errors import CorruptDataError, DTypeError
from kist.format import keys
from kist.format.categorical import (
    MAX_CATEGORIES,
    Sort,
    as_categories,
    first_categories,
    sort_of,
)
from kist.format.columns import ColumnSpec
from kist.format.layout import FRAME_BLOB, MAX_INLINE
from kist.format.nullable import pairs, parts
from kist.format.plain import pack_value, unpack_value
from kist.format.schema import Leaf, Schema
from kist.format.values import pack_record, unpack_record
from kist.model.tables.stored.schema import facts_of

if TYPE_CHECKING:
    from kist.codecs.strings import StringBlock
    from kist.engine import Transaction, View
    from kist.engine.fieldkeys import FieldKeys

__all__ = [
    "Categories",
    "Growing",
    "Vocabularies",
    "hashable",
    "put_categories",
    "put_new_categories",
    "read_categories",
    "recode",
]

Array = np.ndarray[Any, Any]

_KEPT: Final = 64
"""Lists that stay decoded for one file."""

_known: WeakKeyDictionary[object, dict[object, Categories]] = WeakKeyDictionary()
_lock = threading.Lock()


class Categories:
    """What the codes of a column stand for; does not change.

    Attributes
    ----------
    sort : Sort
        What the dtype of the column says.
    values : ndarray, shape (n,)
        Code k is the value at k - 1.
    numbers : dict of str to int, or None
        Of an enumeration that was made with numbers.
    """

    __slots__ = ("_index", "_ranks", "_tables", "_text", "numbers", "sort", "values")

    def __init__(self, sort: Sort, values: Array, numbers: dict[str, int] | None = None) -> None:
        self.sort = sort
        self.values = values
        self.numbers = numbers
        self._tables: dict[bool, Array] = {}
        self._text: tuple[StringBlock, Array | None] | None = None
        self._ranks: Array | None = None
        self._index: dict[Any, int] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def index(self) -> Mapping[Any, int]:
        """Codes by what `hashable` makes of the values."""
        if self._index is None:
            found = {key: code for code, key in enumerate(hashable(self.values), 1)}
            if self.sort.base.kind == "T":
                found[None] = 0
            self._index = found
        return self._index

    def table(self, *, valid: bool = False) -> Array:
        """Return values by code; with `valid` whether a code is one of a value."""
        found = self._tables.get(valid)
        if found is None:
            if valid:
                found = np.ones(len(self) + 1, bool)
                found[0] = False
            elif self.sort.base.kind == "T":
                found = np.empty(len(self) + 1, self.sort.values)
                found[0] = None
                found[1:] = self.values
            else:
                found = np.zeros(len(self) + 1, self.sort.base)
                found[1:] = self.values
            found.flags.writeable = False
            self._tables[valid] = found
        return found

    def decode(self, leaf: Leaf, codes: Array, out: Array) -> None:
        """Write the values that codes stand for into an array.

        Raises
        ------
        CorruptDataError
            A code stands for nothing.
        """
        self.check(codes)
        if out.dtype.kind != "T":
            np.take(self.table(valid=_is_valid(leaf)), codes, out=out, mode="clip")
            return
        if self._text is None:
            from kist.codecs.strings import block_of

            self._text = block_of(self.table()), words_of(self.table())
        block, words = self._text
        if words is None or not put_words(words, out, codes):
            from kist.codecs.strings import fill

            fill(block, out, codes)

    @property
    def ranks(self) -> Array:
        """Ranks by code, from 1 on, of the values in their own order; 0 for no value."""
        if self._ranks is None:
            ranks = np.zeros(len(self) + 1, np.uint32)
            from kist._kernels.ordering import sortable, stable_order

            ranks[1 + stable_order(sortable(self.values))] = np.arange(1, len(self) + 1)
            ranks.flags.writeable = False
            self._ranks = ranks
        return self._ranks

    def decoded(self, codes: Array) -> Array:
        """Return the values that codes stand for, of the dtype in which users see the column."""
        values: Array = self.table()[codes]
        if self.sort.base.kind == "T":
            return values
        return pairs(values, self.table(valid=True)[codes], self.sort.values)

    def joined(self, other: Categories) -> tuple[Categories, Array]:
        """Return these categories with those of another column behind them that are new.

        Beside them the code here of each code of the other one.

        Raises
        ------
        DTypeError
            They are too many.
        """
        known = self.index
        keys = hashable(other.values)
        new = np.array([key not in known for key in keys], bool)
        values = np.concatenate([self.values, other.values[new]])
        if len(values) > MAX_CATEGORIES:
            raise DTypeError(f"{len(values):,} categories; at most {MAX_CATEGORIES:,} are possible")
        found = Categories(self.sort, values)
        codes = np.array([0, *(found.index[key] for key in keys)], np.uint32)
        return found, codes

    def check(self, codes: Array) -> None:
        """Raise `CorruptDataError` when a code is larger than the list is long."""
        if len(codes) and int(codes.max()) > len(self):
            raise CorruptDataError(f"code {int(codes.max())}, and there are {len(self)} categories")


def _is_valid(leaf: Leaf) -> bool:
    """Tell which of the leaves of values it is: the second one says which are there."""
    return bool(leaf.id & 1)


def hashable(values: Array) -> list[Any]:
    """Return values as Python compares them: floats and times by their bits."""
    kind = values.dtype.kind
    if kind == "f":
        values = (values + values.dtype.type(0)).view(f"u{values.dtype.itemsize}")
    elif kind in "mM":
        values = values.view("i8") if values.dtype.isnative else values.astype("i8")
    return values.tolist()  # type: ignore[no-any-return]


def recode(values: Array, codes: Array, path: str, leaf: Leaf) -> Array:
    """Return codes of another list of categories in place of those of a column.

    Parameters
    ----------
    codes : ndarray of int
        The new code of each code.

    Raises
    ------
    CorruptDataError
        A code stands for nothing.
    """
    if int(values.max(initial=0)) >= len(codes):
        raise CorruptDataError(
            f"{path!r} column {leaf.path[0]!r}: code {int(values.max())}, and there are "
            f"{len(codes) - 1} categories; 'kist check' lists all damage",
            node=path,
        )
    return codes[values].astype(leaf.dtype, copy=False)


def read_categories(
    view: View, node: int, column: ColumnSpec, opened: FieldKeys | None = None
) -> Categories:
    """Return the categories of a column as a view shows them.

    Parameters
    ----------
    opened : FieldKeys, optional
        Of a sealed column; by default those which this handle has opened.

    Raises
    ------
    CorruptDataError
        The records are damaged, or do not fit each other.
    SecretError
        The column is sealed, and is not open.
    """
    sort = sort_of(column.dtype)
    assert sort is not None
    if column.field and opened is None:  # before what others have opened is looked for
        from kist.model.tables.stored.sealedlists import keys_of_list

        opened = keys_of_list(view, node, column)
    entries = tuple(view.scan(*keys.categories(node, column.first_leaf)))
    with _lock:
        mine = _known.setdefault(view.reader, {})
        found = mine.get((sort, entries))  # a value has the sum of what it points to
    if found is None:
        found = _read(view, sort, entries, column.name, opened)
        with _lock:
            if len(mine) >= _KEPT:
                mine.clear()
            mine[sort, entries] = found
    return found


def _read(
    view: View,
    sort: Sort,
    entries: Sequence[tuple[bytes, bytes]],
    name: str,
    opened: FieldKeys | None,
) -> Categories:
    runs: list[Array] = []
    numbers: dict[str, int] | None = None
    n = 0
    for key, value in entries:
        where = f"categories of column {name!r}"
        if keys.row_of(key) != n + 1:
            raise CorruptDataError(f"{where}: a run begins at {keys.row_of(key)}, not at {n + 1}")
        found = _unpacked(view, value, opened)
        if isinstance(found, dict):
            numbers = found
            found = list(found)
        if not isinstance(found, list | np.ndarray):
            raise CorruptDataError(f"{where}: a run is no list but {type(found).__name__}")
        try:
            run = as_categories(found, sort.base, where)
        except (DTypeError, TypeError) as error:
            raise CorruptDataError(str(error)) from error
        runs.append(run)
        n += len(run)
    values = np.concatenate(runs) if len(runs) > 1 else runs[0] if runs else np.empty(0, sort.base)
    if len(set(hashable(values))) < len(values):
        raise CorruptDataError(f"categories of column {name!r}: one occurs twice")
    if numbers is not None and not all(type(number) is int for number in numbers.values()):
        raise CorruptDataError(f"categories of column {name!r}: numbers that are no integers")
    values.flags.writeable = False
    return Categories(sort, values, numbers)


def _unpacked(view: View, value: bytes, opened: FieldKeys | None) -> Any:
    if opened is not None:
        from kist.model.tables.stored.sealedlists import unseal_list

        return unpack_value(unseal_list(view, value, opened))
    pointers, payload = unpack_record(value)
    return unpack_value(bytes(view.read(pointers[0])) if pointers else payload)


def put_new_categories(
    txn: Transaction, node: int, column: ColumnSpec, opened: FieldKeys | None = None
) -> None:
    """Put the categories that the dtype of a new column brings; nothing for other columns.

    Parameters
    ----------
    opened : FieldKeys, optional
        Of a sealed column of a table that has no schema yet.
    """
    sort = sort_of(column.dtype) if column.is_categorical else None
    if sort is None:
        return
    listed, numbers = first_categories(column.dtype)
    if listed is None and sort.fixed:
        raise DTypeError(
            f"column {column.name!r}: the names of the enumeration are not known; give the dtype "
            "that kist.enum returned",
            column=column.name,
        )
    if listed is not None:
        put_categories(txn, node, column, Categories(sort, listed, numbers), opened)


def put_categories(
    txn: Transaction,
    node: int,
    column: ColumnSpec,
    categories: Categories,
    opened: FieldKeys | None = None,
) -> None:
    """Put all categories of a column as one run, in place of those that are there.

    Of a sealed column the caller makes the manifests anew.
    """
    leaf = column.first_leaf
    if column.field:
        from kist.model.tables.stored.sealedlists import keys_of_list, put_sealed_list

        packed = _packed(categories.values, categories.numbers)
        put_sealed_list(txn, node, leaf, packed, opened or keys_of_list(txn, node, column))
        return
    txn.delete_range(*keys.categories(node, leaf))
    if len(categories):
        _put_run(txn, node, leaf, 1, categories.values, categories.numbers)


def _put_run(
    txn: Transaction,
    node: int,
    leaf: int,
    first: int,
    values: Array,
    numbers: dict[str, int] | None = None,
) -> None:
    payload = _packed(values, numbers)
    pointers: tuple[Any, ...] = ()
    if len(payload) > MAX_INLINE:
        pointers = tuple(txn.write([Frame(FRAME_BLOB, node, 0, 0, payload)]))
        payload = b""
    txn.put(keys.category_run(node, leaf, first), pack_record(payload, pointers))


def _packed(values: Array, numbers: dict[str, int] | None) -> bytes:
    content: Any = values.tolist() if values.dtype.kind == "T" else values
    return pack_value(content if numbers is None else numbers)


def _put_more(txn: Transaction, node: int, leaf: int, n_before: int, values: Array) -> None:
    """Put the categories behind the first `n_before` ones, of all that there are now."""
    first = n_before + 1
    for key, _ in txn.scan(*keys.categories(node, leaf), reverse=True):
        start = keys.row_of(key)
        if first - start > len(values) + 1 - first:
            break
        txn.delete(key)
        first = start
    _put_run(txn, node, leaf, first, values[first - 1 :])


class Growing:
    """The categories of a column while rows are written; several threads may ask.

    Parameters
    ----------
    before : Categories
        Those that are there.
    column : ColumnSpec
        Whose they are.
    what : str
        The operation, for messages.
    """

    def __init__(self, before: Categories, column: ColumnSpec, what: str) -> None:
        self.before = before
        self._column = column
        self._what = what
        self._index: Mapping[Any, int] = before.index
        self._new: list[Array] = []
        self._n = len(before)
        self._lock = threading.Lock()
        self._renewed = False

    def codes(self, values: Array, first_row: int | None = None) -> Array:
        """Return the codes of values; those that are new are taken up.

        Parameters
        ----------
        values : ndarray, shape (n,)
            Of the dtype of the values of the column.
        first_row : int, optional
            Number of the first, for messages.

        Raises
        ------
        DTypeError
            A value is no category, and the list does not grow by itself.
        """
        found = parts(values)
        if found is None:
            return self._of(values, first_row)
        some, valid = found
        if valid.all():
            return self._of(np.ascontiguousarray(some), first_row)
        codes = np.zeros(len(values), self._column.dtype["code"])
        codes[valid] = self._of(np.ascontiguousarray(some[valid]), None)
        return codes

    def _of(self, values: Array, first_row: int | None) -> Array:
        items = hashable(values)
        dtype = self._column.dtype["code"]
        get = self._index.get
        try:
            # None where one is new, which no dtype of codes takes.
            return np.fromiter(map(get, items), dtype, len(items))
        except TypeError:
            return self._with_new(values, items, first_row)

    def _with_new(self, values: Array, items: list[Any], first_row: int | None) -> Array:
        dtype = self._column.dtype["code"]
        with self._lock:
            new = [at for at, item in enumerate(items) if item not in self._index]
            distinct = dict.fromkeys(items[at] for at in new)
            if new:
                self._take(values, new, distinct, items, first_row)
            return np.fromiter(map(self._index.__getitem__, items), dtype, len(items))

    def _take(
        self,
        values: Array,
        new: list[int],
        distinct: Iterable[Any],
        items: list[Any],
        first_row: int | None,
    ) -> None:
        sort = self.before.sort
        if not sort.grows:
            raise self._refused(values[new[0] : new[0] + 1].tolist()[0], first_row, new[0])
        if bool((values != values).any()) if values.dtype.kind in "fmM" else False:
            raise DTypeError(
                f"{self._what}: column {self._column.name!r}: NaN and NaT are no categories; give "
                "None for a missing value",
                column=self._column.name,
            )
        first = {items[at]: at for at in reversed(new)}
        added = values[[first[item] for item in distinct]].astype(sort.base)
        if self._n + len(added) > MAX_CATEGORIES:
            raise DTypeError(f"{self._what}: more than {MAX_CATEGORIES:,} categories")
        # A new dict: others may be looking into the old one.
        self._index = {**self._index, **{k: self._n + i for i, k in enumerate(distinct, 1)}}
        self._n += len(added)
        self._new.append(added)

    def _refused(self, value: Any, first_row: int | None, at: int) -> DTypeError:
        known = self.before.values.tolist()
        listed = ", ".join(map(repr, known[:8])) + (f", ... ({len(known)})" if known[8:] else "")
        row = None if first_row is None else first_row + at
        place = "" if row is None else f"row {row}, "
        sort = self.before.sort
        hint = "an enumeration never grows" if sort.fixed else "add_categories() adds to the list"
        return DTypeError(
            f"{self._what}: {place}column {self._column.name!r} ({sort}): {value!r} is no "
            f"category; they are {listed or 'none'}; {hint}; nothing was changed",
            row=row,
            column=self._column.name,
        )

    def put(self, txn: Transaction, node: int) -> None:
        """Put what has come."""
        if self._column.field:
            self._put_sealed(txn, node)
        if not self._new:
            return
        values = np.concatenate([self.before.values, *self._new])
        _put_more(txn, node, self._column.first_leaf, len(self.before), values)
        self.before = Categories(self.before.sort, values)
        self._new = []

    def _put_sealed(self, txn: Transaction, node: int) -> None:
        """Put the list of a sealed column: what brings nothing new shall look no other."""
        from kist.model.tables.stored.sealedlists import CHEAP_BYTES

        known = self.before
        if self._new:
            known = Categories(known.sort, np.concatenate([known.values, *self._new]))
        elif self._renewed or len(_packed(known.values, known.numbers)) > CHEAP_BYTES:
            return
        put_categories(txn, node, self._column, known)
        self.before, self._new, self._renewed = known, [], True


class Vocabularies:
    """The categorical columns of a table while rows are written, each read when first needed."""

    def __init__(self, txn: Transaction, node: int, schema: Schema, what: str) -> None:
        self._txn, self._node, self._schema, self._what = txn, node, schema, what
        # Read here: later several threads ask.
        self._by_leaf = {
            column.first_leaf: Growing(read_categories(txn, node, column), column, what)
            for column in facts_of(schema).categorical
        }

    def of(self, column: ColumnSpec) -> Growing:
        """Return the categories of a column."""
        return self._by_leaf[column.first_leaf]

    def encoded(
        self, leaves: Sequence[Leaf], values: Sequence[Array]
    ) -> tuple[Sequence[Leaf], Sequence[Array]]:
        """Return leaves and their values, with codes in place of values of categories.

        Parameters
        ----------
        leaves, values : sequence
            Ascending by id, as they come back.
        """
        if not self._by_leaf or all(leaf.codes is None for leaf in leaves):
            return leaves, values
        stored = {leaf.id: leaf for leaf in self._schema.stored}
        found: dict[int, tuple[Leaf, Array]] = {}
        for at, (leaf, new) in enumerate(zip(leaves, values, strict=True)):
            if leaf.codes is None:
                found[leaf.id] = leaf, new
                continue
            growing = self._by_leaf[leaf.codes]
            flat = np.ascontiguousarray(new).reshape(-1)
            if _is_valid(leaf):
                continue  # taken with the values, which stand before
            if growing.before.sort.base.kind == "T":
                codes = growing.codes(flat)
            else:
                both = leaves[at + 1 : at + 2]
                if not both or both[0].codes != leaf.codes:
                    raise self._part(leaf)
                pairs = np.zeros(len(flat), growing.before.sort.values)
                pairs["value"], pairs["valid"] = flat, values[at + 1].reshape(-1)
                codes = growing.codes(pairs)
            found[leaf.codes] = stored[leaf.codes], codes
        if any(leaf.codes is not None and leaf.codes not in found for leaf in leaves):
            raise self._part(next(leaf for leaf in leaves if leaf.codes is not None))
        order = sorted(found)
        return [found[number][0] for number in order], [found[number][1] for number in order]

    def _part(self, leaf: Leaf) -> DTypeError:
        return DTypeError(
            f"{self._what}: {'.'.join(leaf.path)} is part of a category; assign to column "
            f"{leaf.path[0]!r} as a whole",
            column=leaf.path[0],
        )

    def put(self) -> None:
        """Put all categories that have come."""
        for growing in self._by_leaf.values():
            growing.put(self._txn, self._node)
