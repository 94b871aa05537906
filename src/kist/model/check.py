"""Looking for damage: the findings of the engine, and what the model knows beyond them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kist.errors import FormatError, SecretError
from kist.format import keys
from kist.format.keystore import unpack_key
from kist.format.node import NodeKind, a_kind, kind_label
from kist.model import directory
from kist.model.text import visible

if TYPE_CHECKING:
    from kist.engine import Problem as EngineProblem
    from kist.engine import View
    from kist.model.store import Store

__all__ = ["CheckReport", "Problem", "check_store"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    Attributes
    ----------
    where : str
        Part of the file: ``slot``, ``log``, ``tree``, ``extent``, ``space``, ``node``,
        ``table``, ``key store``.
    message : str
        What is wrong.
    node : str or None
        Path of the node concerned.
    offset : int or None
        Byte of the file.
    """

    where: str
    message: str
    node: str | None = None
    offset: int | None = None

    def __str__(self) -> str:
        place = [self.where, *([repr(self.node)] if self.node else [])]
        if self.offset is not None:
            place.append(f"byte {self.offset}")
        return visible(f"{', '.join(place)}: {self.message}")


@dataclass(frozen=True)
class CheckReport:
    """What `Store.check` found; true when there is nothing.

    Attributes
    ----------
    problems : list of Problem
        Everything that was found.
    path : str
        The file.
    commit : int
        The commit that was checked.
    notes : list of str
        What could not be checked: sealed columns whose secret was not given.
    """

    problems: list[Problem] = field(default_factory=list)
    path: str = ""
    commit: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "path": self.path,
            "commit": self.commit,
            "ok": self.ok,
            "problems": [
                {"where": p.where, "node": p.node, "offset": p.offset, "message": p.message}
                for p in self.problems
            ],
            "notes": self.notes,
        }

    def __repr__(self) -> str:
        n = len(self.problems)
        said = f"{n} problem{'' if n == 1 else 's'}" if n else "no problems found"
        head = f"{self.path!r}, commit {self.commit}: {said}"
        return "\n".join([head, *(f"    {line}" for line in (*self.problems, *self.notes))])


def check_store(store: Store, progress: Callable[[int, int], None] | None) -> CheckReport:
    """Check the bytes of a store, then its hierarchy, then each table."""
    found = _checked(store, progress)
    backend = store._session.engine.backend
    if found.problems and backend.remote:
        backend.distrust()  # which was perhaps damaged on the way: what counts is the file
        found = _checked(store, progress)
    return found


def _checked(store: Store, progress: Callable[[int, int], None] | None) -> CheckReport:
    with store._session.hold_newest() as view:
        found = store._session.engine.check(progress)
        problems = [_located(view, problem) for problem in found]
        # Damage to the map itself is known by now; walking it once more would say it again.
        notes: list[str] = []
        damaged = any(problem.where in ("tree", "slot", "log") for problem in found)
        try:
            problems += _check_nodes(view)
            problems += _check_datasets(store, view, notes)
        except FormatError as error:
            if not damaged:
                problems.append(Problem("node", str(error), getattr(error, "node", None)))
        return CheckReport(problems, store.path, view.state.shown, notes)


def _located(view: View, problem: EngineProblem) -> Problem:
    node = None
    if problem.key is not None and len(problem.key) >= 9:
        number = keys.node_of(problem.key)
        if number >= keys.ROOT:
            try:
                node = directory.path_of(view, number) or f"node {number}"
            except FormatError:
                node = f"node {number}"
            try:
                node += _part_of(problem.key)
            except FormatError:
                node += f", record {problem.key.hex()}"
    return Problem(problem.where, problem.message, node, problem.offset)


def _part_of(key: bytes) -> str:
    """Name what a record is of its node."""
    kind = keys.kind_of(key)
    if kind == b"A":
        return f", attribute {keys.name_of(key)!r}"
    if kind == b"C":
        return f", chunk {keys.chunk_place(key)}"
    if kind == b"P":
        return f", leaf {keys.leaf_of(key)}, row {keys.row_of(key)}"
    return f", key {_key_of(key)}" if kind == b"K" else ""


def _key_of(key: bytes) -> str:
    packed = key[len(keys.items(0)[0]) :]
    try:
        return repr(unpack_key(packed))
    except FormatError:
        return packed.hex()


def _check_nodes(view: View) -> Iterator[Problem]:
    """Hold the two records of each node against each other, and look for orphans."""
    known = {keys.ROOT}
    for path, entry in directory.walk(view, keys.ROOT, "/"):
        if entry.node in known:
            yield Problem("node", f"node {entry.node} is listed twice", path)
            continue
        known.add(entry.node)
        found = directory.record(view, entry.node)
        if found is None:
            yield Problem("node", "listed in its group, but without a record of its own", path)
        elif found.kind != entry.kind:
            yield Problem(
                "node",
                f"listed as {a_kind(entry.kind)}, but its record says {kind_label(found.kind)}",
                path,
            )
        elif found.name != entry.name:
            yield Problem("node", f"its record says that it is called {found.name!r}", path)
    for number in (keys.STORE, keys.ROOT):
        if view.get(keys.whole_node(number)[0]) is not None:
            yield Problem("node", "a record of no kind", f"node {number}")
    number = keys.FIRST_NODE
    while True:
        # One look-up a node, whatever it holds: from each record to the first of the next node.
        entry_ = next(view.scan(keys.whole_node(number)[0], b"\xff" * 9), None)
        if entry_ is None:
            return
        number = keys.node_of(entry_[0])
        if not keys.kind_of(entry_[0]):
            yield Problem("node", "a record of no kind", f"node {number}")
        if number not in known:
            yield Problem("node", "records of a node that no group lists", f"node {number}")
        number += 1
        if number >> 64:
            return  # a hostile file may name the last one that there can be


def _check_sealed_groups(view: View, notes: list[str]) -> Iterator[Problem]:
    marked = any(
        directory.is_marked(view, entry.node) for _, entry in directory.walk(view, keys.ROOT, "/")
    )
    if not marked:
        return  # and nothing of encryption is loaded
    from kist.model.sealing.borders import check_places

    for path, message, unseen in check_places(view):
        if unseen:
            notes.append(f"{path!r}: {message}")
        else:
            yield Problem("node", message, path)


def _check_datasets(store: Store, view: View, notes: list[str]) -> Iterator[Problem]:
    from kist.model.arrays.array import Array
    from kist.model.handles import make_handle
    from kist.model.keystores.keystore import KeyStore
    from kist.model.links.link import Link
    from kist.model.tables.table import Table

    yield from _check_sealed_groups(view, notes)
    for path, entry in directory.walk(view, keys.ROOT, "/"):
        if entry.kind not in (NodeKind.TABLE, NodeKind.ARRAY, NodeKind.KEYSTORE, NodeKind.LINK):
            continue
        where = kind_label(entry.kind)
        try:
            dataset = make_handle(store, view, entry.node, path)
            # Else the two records differ, which is known by now.
            if isinstance(dataset, Table | Array | KeyStore | Link) and dataset._kind == entry.kind:
                for message in dataset._check_records(view):
                    yield Problem(where, message, path)
                notes += (f"{path!r}: {note}" for note in dataset._check_notes(view))
        except (FormatError, SecretError) as error:
            yield Problem(where, str(error), path, getattr(error, "offset", None))
