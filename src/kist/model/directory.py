"""The hierarchy as records of the map: looking up, listing, adding, moving and removing nodes.

Plain functions over a view or a transaction of the engine, without handles. Each node has an
``N`` record (kind, parent, name) and its group a ``D`` record (name -> kind, node id).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from kist.errors import (
    CorruptDataError,
    NodeError,
    NodeExistsError,
    NodeNameError,
    NodeNotFoundError,
    TamperedDataError,
)
from kist.format import keys
from kist.format.node import CHILD, Child, NodeKind, NodeRecord, a_kind
from kist.model.paths import join, nfc

if TYPE_CHECKING:
    from kist.engine import Transaction, View

__all__ = [
    "COUNTED",
    "MAX_DEPTH",
    "add",
    "check_free",
    "check_listed",
    "check_place",
    "child",
    "child_names",
    "children",
    "count",
    "descend",
    "find",
    "first_children",
    "has_rows",
    "in_clear",
    "is_inside",
    "is_marked",
    "leads_inside",
    "maintain",
    "move",
    "n_children",
    "once",
    "path_of",
    "paths_below",
    "record",
    "remove",
    "require_groups",
    "stands_inside",
    "walk",
]

_NAME = len(keys.children(0)[0])  # where the name begins in the key of a child
_FEW = 64
_HINTS = 250
_NOWHERE = -1  # no node has this number
COUNTED = 100_000
"""Entries of a group that are counted for people; beyond, "more than" does."""
MAX_DEPTH = 200
"""Deepest nesting of groups: what walks them can be recursive, and a damaged chain must end."""


def record(view: View, node: int) -> NodeRecord | None:
    """Record of a node, or None when there is none. The root needs no record."""
    value = view.get(keys.node(node))
    if value is None:
        return NodeRecord(NodeKind.GROUP, 0, "", 0) if node == keys.ROOT else None
    return NodeRecord.unpack(value)


def has_rows(view: View, node: int) -> bool:
    """Tell whether there is a node that is a table, from the records that only tables have."""
    # Arrays have a schema too, and bounds.
    return view.get(keys.schema(node)) is not None and view.get(keys.bounds(node)) is None


def is_marked(view: View, node: int) -> bool:
    """Tell whether a node says that it is, or stands in, a sealed group.

    Needs no secret. `kist.model.sealing.groups` says what is to be believed.
    """
    return (
        view.get(keys.manifest(node, keys.PLACE)) is not None
        or view.get(keys.lock(node, keys.PLACE)) is not None
    )


def is_inside(view: View, node: int) -> bool:
    """Tell whether a node, or a group above it by its records, says that of itself.

    A snapshot keeps it of groups: of what stands beside each other one look up to the root is
    enough.
    """
    above: list[int] = []
    inside = False
    for _ in range(MAX_DEPTH + 2):
        known: bool | None = view.by_node.get(("inside", node))
        if known is not None:
            inside = known
            break
        if is_marked(view, node):
            inside = True
            break
        found = None if node == keys.ROOT else record(view, node)
        if found is None:
            break
        node = found.parent
        above.append(node)
    if not view.is_transaction:
        view.by_node.update((("inside", group), inside) for group in above)
    return inside


def leads_inside(view: View, path: str) -> bool:
    """Tell whether a path leads through, or to, what says that of itself: by the lists of groups.

    Whoever pastes a group into a sealed one can have its own record say that it stands elsewhere.
    A snapshot keeps it of groups, as `is_inside` does.
    """
    *above, name = path.strip("/").split("/")
    known: tuple[int, bool] | None = view.by_node.get(("leads", *above))
    if known is None:
        known = _led_to(view, above)
        if not view.is_transaction:
            view.by_node["leads", *above] = known
    at, inside = known
    if inside or at == _NOWHERE or not name:
        return inside
    entry = child(view, at, name)
    return entry is not None and is_marked(view, entry.node)


def _led_to(view: View, names: list[str]) -> tuple[int, bool]:
    """Return where names lead, and whether something there or on the way is marked."""
    at = keys.ROOT
    for name in names:
        entry = child(view, at, name)
        if entry is None:
            return _NOWHERE, False
        if is_marked(view, entry.node):
            return _NOWHERE, True
        at = entry.node
    return at, False


def check_place(view: View, node: int, path: str) -> bool:
    """Tell whether a node that was found under a path stands in a sealed group, or is one.

    Raises
    ------
    TamperedDataError
        Somebody without the secret has put it there.
    """
    if not is_inside(view, node) and not leads_inside(view, path):
        return False
    from kist.model.sealing.groups import check_stands

    return check_stands(view, node, path)


def in_clear(kind: str, path: str) -> TamperedDataError:
    """Return the error of a dataset in clear where all is sealed."""
    return TamperedDataError(
        f"the {kind} {path!r} stands in a sealed group and is not sealed: no holder of the secret"
        " has put it there; do not trust the file"
    )


def child(view: View, group: int, name: str) -> Child | None:
    """Entry of a group under exactly this name, or None."""
    key_name = nfc(name)
    value = view.get(keys.child(group, key_name))
    if value is None:
        return None
    entry = Child.unpack(key_name, value)
    return entry if entry.name == name else None


def children(view: View, group: int) -> list[Child]:
    """All entries of a group, names sorted by code point."""
    entries = []
    in_order = True
    for key, value in view.scan(*keys.children(group)):
        key_name = keys.name_of(key)
        entry = Child.unpack(key_name, value)
        in_order = in_order and entry.name == key_name
        entries.append(entry)
    if not in_order:  # the keys are sorted, but by the NFC form of the names
        entries.sort(key=lambda entry: entry.name)
    return entries


def first_children(view: View, group: int, most: int) -> list[Child]:
    """Up to `most` entries of a group, in the order of their keys; reads no others."""
    return [
        Child.unpack(keys.name_of(key), value)
        for key, value in islice(view.scan(*keys.children(group)), most)
    ]


def count(view: View, group: int, most: int = COUNTED) -> tuple[int, bool]:
    """Number of entries of a group, counted up to `most`, and whether that is all."""
    n = sum(1 for _ in islice(view.scan(*keys.children(group)), most + 1))
    return min(n, most), n <= most


def paths_below(view: View, group: int) -> Iterator[str]:
    """Names in a group, then paths in the groups within it; lazy, wide before deep."""
    level = [("", group)]
    seen = {group}
    while level:
        below = []
        for before, at in level:
            for key, value in view.scan(*keys.children(at)):
                entry = Child.unpack(keys.name_of(key), value)
                yield before + entry.name
                if entry.kind == NodeKind.GROUP:
                    once(seen, entry.node, before + entry.name)
                    below.append((f"{before}{entry.name}/", entry.node))
        level = below


def once(seen: set[int], group: int, path: str) -> None:
    """Note that a group was met.

    Raises
    ------
    CorruptDataError
        It was met before. In a hostile file, groups of two names each that lead to the next would
        be as many as there are paths: two to the power of their depth.
    """
    if group in seen:
        raise CorruptDataError(f"the group {path!r} is listed in two places", node=path)
    seen.add(group)


def n_children(view: View, group: int) -> int:
    """Number of entries of a group."""
    # list(group) asks for it when it has the names.
    known: int | None = view.by_node.get(group)
    return len(child_names(view, group)) if known is None else known


def child_names(view: View, group: int) -> list[str]:
    """Names of the children of a group, sorted by code point: `children` without the rest."""
    names = _child_names(view, group)
    if not view.is_transaction:  # which may change
        view.by_node[group] = len(names)
    return names


def _child_names(view: View, group: int) -> list[str]:
    plain = 1 + CHILD.size  # bytes of an entry whose name stands in the key alone
    texts = view.texts(*keys.children(group), _NAME)
    if texts is not None and not texts[1] - {plain}:
        return texts[0]
    found, values = view.entries(*keys.children(group))
    if set(map(len, values)) - {plain}:
        return [entry.name for entry in children(view, group)]
    return [key[_NAME:].decode() for key in found]


def find(view: View, group: int, names: tuple[str, ...], base: str) -> Child:
    """Follow names downwards from a group whose path is `base`, links not followed.

    Raises
    ------
    NodeNotFoundError
        A name is missing, or a node on the way is no group.
    """
    entry, path, used = descend(view, group, names, base)
    if used < len(names):
        raise _ends(entry, path, names[used])
    return entry


def descend(
    view: View, group: int, names: tuple[str, ...], base: str, *, hint: bool = True
) -> tuple[Child, str, int]:
    """Follow names downwards to the last one, or to the first that is a link.

    Parameters
    ----------
    hint : bool
        Whether the error names what is there: not for who only asks whether something is.

    Returns
    -------
    entry, path : Child, str
        What was found there.
    used : int
        How many of the names led there.

    Raises
    ------
    NodeNotFoundError
        A name is missing, or a node on the way is neither group nor link.
    """
    entry = Child("", NodeKind.GROUP, group)
    path = base
    for used, name in enumerate(names):
        if entry.kind != NodeKind.GROUP:
            if entry.kind == NodeKind.LINK:
                return entry, path, used
            raise _ends(entry, path, name)
        below = child(view, entry.node, name)
        if below is None:
            missing = f"there is no {join(path, name)!r}"
            raise NodeNotFoundError(
                missing + _instead(view, entry.node, path, name) if hint else missing
            )
        entry, path = below, join(path, name)
    return entry, path, len(names)


def _ends(entry: Child, path: str, name: str) -> NodeNotFoundError:
    return NodeNotFoundError(
        f"{join(path, name)!r} does not exist: {path!r} is {a_kind(entry.kind)}, "
        "and paths do not descend into it"
    )


def _instead(view: View, group: int, path: str, name: str) -> str:
    same = view.get(keys.child(group, nfc(name)))
    if same is not None:
        other = Child.unpack(nfc(name), same).name
        return f"; its group holds {other!a}, the same text in another Unicode form"
    # More names are not worth comparing for a hint: a thousand take 10 ms.
    names = [entry.name for entry, _ in zip(children(view, group), range(_HINTS), strict=False)]
    import difflib

    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f"; did you mean {' or '.join(repr(n) for n in near)}?"
    return f"; {path!r} holds {', '.join(map(repr, names[:5])) or 'nothing'}" + (
        ", ..." if len(names) > 5 else ""
    )


def path_of(view: View, node: int) -> str | None:
    """Path of a node by its chain of parents, or None when the chain does not reach the root."""
    names: list[str] = []
    while node != keys.ROOT:
        value = view.get(keys.node(node))
        if value is None or len(names) > MAX_DEPTH:
            return None
        found = NodeRecord.unpack(value)
        names.append(found.name)
        node = found.parent
    return "/" + "/".join(reversed(names))


def check_listed(view: View, node: int, path: str) -> None:
    """Raise unless what stands at the path that the records of a node tell is this node.

    Secrets that are given by path hold for nothing else, and a record alone can say any name.

    Raises
    ------
    TamperedDataError
        A group on the way lists another node, or none, under the name.
    """
    names, at = path.strip("/").split("/"), keys.ROOT
    for name in names if node != keys.ROOT else ():
        entry = child(view, at, name)
        at = entry.node if entry is not None else -1
        if at < 0:
            break
    if at != node:
        raise TamperedDataError(
            f"node {node} says that it is {path!r}, where it is not listed, and secrets were given "
            "by path: do not trust the file"
        )


def walk(view: View, group: int, base: str) -> Iterator[tuple[str, Child]]:
    """All nodes below a group, each group before its children, as (path, entry)."""
    stack = [(base, iter(children(view, group)))]
    seen = {group}
    while stack:
        path, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        below = join(path, entry.name)
        yield below, entry
        if entry.kind == NodeKind.GROUP:
            if len(stack) > MAX_DEPTH:
                raise CorruptDataError(f"groups nest more than {MAX_DEPTH} deep", node=below)
            once(seen, entry.node, below)
            stack.append((below, iter(children(view, entry.node))))


def add(
    txn: Transaction,
    group: int,
    name: str,
    kind: int,
    base: str,
    created_ns: int | None = None,
    *,
    features: tuple[int, int, int] = (0, 0, 0),
    inside: bool | None = None,
) -> int:
    """Put a new node under a free name, and return its id.

    Parameters
    ----------
    created_ns : int, optional
        When; by default now.
    features : tuple of int
        What is asked of those who read, write, and may ignore it.
    inside : bool, optional
        What `stands_inside` says of the group, if the caller has asked.

    Raises
    ------
    NodeExistsError
        The name, or one equal to it under NFC, is taken.
    """
    check_free(txn, group, name, base)
    if base.count("/") >= MAX_DEPTH:
        raise NodeNameError(f"groups nest at most {MAX_DEPTH} deep")
    node = txn.new_node()
    created_ns = time.time_ns() if created_ns is None else created_ns
    record = NodeRecord(kind, group, name, created_ns, *features)
    key_name = nfc(name)
    # The number was never used, and the name is free.
    txn.put(keys.node(node), record.pack(), old=None)
    txn.put(keys.child(group, key_name), Child(name, kind, node).pack(key_name), old=None)
    if stands_inside(txn, group, base) if inside is None else inside:
        from kist.model.sealing.groups import begin_below

        begin_below(txn, group, node)
    return node


def stands_inside(txn: Transaction, group: int, base: str) -> bool:
    """Tell whether what is put into a group, which has this path, is in a sealed one."""
    return group != keys.ROOT and (is_marked(txn, group) or leads_inside(txn, base))


def check_free(view: View, group: int, name: str, base: str) -> None:
    """Raise `NodeExistsError` when a name, or its like, is taken."""
    key_name = nfc(name)
    value = view.get(keys.child(group, key_name))
    if value is None:
        return
    entry = Child.unpack(key_name, value)
    if entry.name != name:
        raise NodeExistsError(
            f"{join(base, name)!a} would stand beside {entry.name!a}, which is the same text in "
            "another Unicode form; use that name"
        )
    raise NodeExistsError(f"{join(base, name)!r} exists already: {a_kind(entry.kind)}")


def require_groups(
    txn: Transaction, group: int, names: tuple[str, ...], base: str
) -> tuple[int, str]:
    """Follow names downwards, making the groups that are missing; return (node id, path)."""
    path = base
    for name in names:
        entry = child(txn, group, name)
        below = join(path, name)
        if entry is not None and entry.kind == NodeKind.LINK:
            from kist.model.links.follow import within

            entry, below = within(txn, entry, below)
        if entry is None:
            group = add(txn, group, name, NodeKind.GROUP, path)
        elif entry.kind != NodeKind.GROUP:
            raise NodeExistsError(f"{below!r} is {a_kind(entry.kind)}, nothing can stand below it")
        else:
            group = entry.node
        path = below
    return group, path


def remove(txn: Transaction, group: int, entry: Child) -> None:
    """Delete a child and everything below it."""
    nodes = [entry.node]
    if entry.kind == NodeKind.GROUP:
        nodes += [below.node for _, below in walk(txn, entry.node, "")]
    txn.delete(keys.child(group, nfc(entry.name)))
    for node in nodes:
        few = [key for key, _ in islice(txn.scan(*keys.whole_node(node)), _FEW + 1)]
        if len(few) > _FEW:
            txn.delete_range(*keys.whole_node(node))
            continue
        # Each range that was deleted is looked at by every later look-up of the transaction, so
        # a thousand small nodes are better deleted key by key.
        for key in few:
            txn.delete(key)


def move(txn: Transaction, source: int, entry: Child, target: int, name: str, base: str) -> None:
    """Put a child of `source` under `name` into `target`, whose path is `base`.

    Raises
    ------
    NodeError
        The target lies inside the group that is moved.
    NodeExistsError
        The name is taken there.
    """
    above = target
    for _ in range(MAX_DEPTH):
        if above == entry.node:
            raise NodeError(f"{join(base, name)!r} lies inside the group that is to be moved there")
        found = record(txn, above)
        if above == keys.ROOT or found is None:
            break
        above = found.parent
    own = record(txn, entry.node)
    if own is None:
        raise CorruptDataError(f"{entry.name!r} is listed, but has no record of its own")
    txn.delete(keys.child(source, nfc(entry.name)))
    check_free(txn, target, name, base)
    moving = None
    if is_marked(txn, entry.node) or is_marked(txn, target):
        from kist.model.sealing.borders import begin_move

        moving = begin_move(txn, entry.node, target)
    txn.put(keys.child(target, nfc(name)), Child(name, entry.kind, entry.node).pack(nfc(name)))
    txn.put(keys.node(entry.node), own.moved(target, name).pack())
    if moving is not None:
        moving.stands_here(txn)


def maintain(txn: Transaction, nodes: frozenset[int]) -> None:
    """Fold small pieces of the tables among some nodes: what the engine calls in checkpoints."""
    tables = [node for node in nodes if has_rows(txn, node)]
    if tables:
        # Imported when there is something to fold: it takes a tenth of a second.
        from kist.model.tables.changes.fold import maintain_tables

        maintain_tables(txn, tables)
