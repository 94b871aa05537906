"""`split`: one dataset into files of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from kist.errors import LinkError, NodeError, SecretError
from kist.format.node import NodeKind
from kist.model.parts.files import NewFiles
from kist.model.parts.making import Making, length_of
from kist.model.parts.origin import Origin
from kist.model.parts.plan import positions

if TYPE_CHECKING:
    from kist.engine import View
    from kist.model.node import Node
    from kist.model.store import Store

__all__ = ["split"]

Progress = Callable[[int, int], None]
Durability = Literal["full", "none"]

_AT_ONCE: Final = 32
"""Parts of values that are filled at the same time."""


def split(
    source: str | os.PathLike[str] | Store | Node,
    path: str | None = None,
    *,
    rows: int | None = None,
    parts: int | None = None,
    at: Iterable[Any] | None = None,
    by: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    durability: Durability = "full",
    progress: Progress | None = None,
    secrets: object = None,
    encrypt: object = None,
) -> list[str]:
    """Split a dataset into files, without decoding what no cut goes through; returns their paths.

    A table and an array are cut along their first axis, a key store by ranges of keys. Each file is
    a store that holds its part under the path that the dataset has, with its attributes and
    indexes; its history begins with it. `merge` makes one of them again.

    Parameters
    ----------
    source : path, Store or dataset
        What to split, as it is now.
    path : str, optional
        Of the dataset in the store.
    rows : int, optional
        Rows of each part, or keys; the last one has fewer.
    parts : int, optional
        Number of parts of about one length. They are cut where nothing needs to be decoded, if
        that is near.
    at : iterable, optional
        Where to cut: positions; of a key store the keys that parts begin with.
    by : str, optional
        A column: one part for each of its values.
    out : path, optional
        A folder; or a name with ``{}``, which becomes the number of the part, or its value. By
        default files beside the store, named after it.
    overwrite : bool
        Replace files.
    durability : {"full", "none"}
        Wait until the files are on the device, or not, as ``cp``: a loss of power soon after may
        then take them, or damage them, which reading notices; what they replaced is gone.
    progress : callable, optional
        Called with bytes done and bytes in all.
    secrets : as `kist.open` takes them, optional
        What opens what is sealed in a file that is given by its path: all of them are needed.
        The parts open with the same secrets.
    encrypt : as `kist.open` takes it, optional
        What seals each of the files as a whole. What stands in a store that is sealed as a whole
        is split no other way.

    Raises
    ------
    SecretError
        A secret is missing; files would be named after the values of a sealed column, or after
        what stands in a store that is sealed as a whole; or of such a store parts would not be.
    SelectionError
        Not one of `rows`, `parts`, `at` and `by`; a cut beyond the end; more parts than rows.
    StoreExistsError
        A file is there already.
    CorruptDataError
        Bytes on the way do not match their checksum.

    Notes
    -----
    The files get their names when all are complete: after an error or Ctrl-C none is left.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open("lab.kist", "w") as store:
    ...     store["t"] = np.array([(1, 2.5), (2, 3.5), (3, 4.5)], [("a", "i4"), ("b", "f8")])
    >>> names = kist.split("lab.kist", "t", rows=2, out="lab-{}.kist")
    >>> [kist.open(name)["t"]["a"][:].tolist() for name in names]
    [[1, 2], [3]]
    """
    if sum(choice is not None for choice in (rows, parts, at, by)) != 1:
        from kist.errors import SelectionError

        secrets = encrypt = None  # a traceback would show it
        raise SelectionError("split takes one of rows=, parts=, at= and by=")
    with ExitStack() as held:
        try:
            files = NewFiles(overwrite=overwrite, durability=durability, encrypt=encrypt)
            encrypt = None
            node = held.enter_context(_dataset(source, path, secrets))
        finally:
            secrets = encrypt = None  # a traceback would show it
        view = held.enter_context(node._hold())
        pattern = _pattern(node, out)
        if view.reader.sealing is not None:
            _keep_names(node, out, by)
        held.enter_context(files)
        if by is not None:
            return _by_column(node, view, by, pattern, files, progress)
        cuts = _cuts(node, view, rows, parts, at)
        width = max(4, len(str(len(cuts))))
        names = [_named(pattern, f"{number:0{width}}") for number in range(1, len(cuts) + 1)]
        _check(files, names)
        told = _told(node, view, progress)
        fill = _filler(node, view, cuts)
        for name, (start, stop) in zip(names, cuts, strict=True):
            with files.create(name) as store:
                making = Making(store, node._path, node, view, told)
                fill(making, start, stop)
                making.finish(_message(node), _origin(node, view, start, stop))
        return names


def _filler(
    node: Node, view: View, cuts: list[tuple[int, int]]
) -> Callable[[Making, int, int], None]:
    """Return what puts a part of a dataset into a new one."""
    store: Any = node
    if node._kind != NodeKind.KEYSTORE or store._is_sealed(view):
        return lambda making, start, stop: making.add(node, view, start, stop)
    from kist.model.parts.keysink import KeySink, keys_at

    # Looked for once: counting keys from the first one for each part would be quadratic.
    edges = [start for start, _ in cuts] + [cuts[-1][1]]
    places = dict(zip(edges, keys_at(view, node._id, edges), strict=True))

    def fill(making: Making, start: int, stop: int) -> None:
        if isinstance(making.sink, KeySink) and start < stop:
            making.sink.add_entries(view, node._path, view.scan(places[start], places[stop]))

    return fill


@contextmanager
def _dataset(source: Any, path: str | None, secrets: object) -> Iterator[Node]:
    """Give the dataset that is to be split, and close what was opened for it."""
    from kist.model.group import Group
    from kist.model.node import Node
    from kist.model.sources import open_source

    with ExitStack() as opened:
        try:
            if not isinstance(source, Node):
                source = opened.enter_context(open_source(source, secrets))
            elif secrets is not None:
                raise SecretError(f"{source._store.path!r} is open: it was to be given its secrets")
        finally:
            secrets = None
        if isinstance(source, Group):
            if path is None:
                names = list(source)
                if len(names) != 1:
                    raise NodeError(
                        f"{source.store.path!r} holds {len(names)} nodes: name the dataset to split"
                    )
                path = names[0]
            source = source[path]
        elif path is not None:
            raise NodeError(f"{source._path!r} is the dataset already; leave path {path!r} out")
        if isinstance(source, Group):
            raise NodeError(f"{source._path!r} is a group: name a dataset in it")
        if not isinstance(source, Node) or source._kind == NodeKind.LINK:
            raise LinkError(
                f"{path or source.name!r} stands in other files or is made of others, which a link "
                "only reads: split those, or write what it shows into a dataset first"
            )
        yield source


def _pattern(node: Node, out: str | os.PathLike[str] | None) -> str:
    name = node._path.rpartition("/")[2]
    if out is None:
        stem = node._store.path.removesuffix(".kist")
        if stem == ":memory:":
            raise NodeError("a store in memory has no place beside it: say out=")
        return f"{stem.replace('{', '{{').replace('}', '}}')}-{_safe(name)}-{{}}.kist"
    text = os.path.abspath(os.fspath(out))
    if "{}" in text:
        head, _, tail = text.partition("{}")
        return "{}".join(part.replace("{", "{{").replace("}", "}}") for part in (head, tail))
    escaped = text.replace("{", "{{").replace("}", "}}")
    return os.path.join(escaped, f"{_safe(name)}-{{}}.kist")


def _keep_names(node: Node, out: str | os.PathLike[str] | None, by: str | None) -> None:
    """Raise where names of files would tell what a store that is sealed as a whole does not."""
    if by is not None:
        told, instead = "the values of a column", "rows=, parts= or at="
    elif out is None or "{}" not in os.fspath(out):
        told, instead = f"{node._path!r}", "out= with {} in it"
    else:
        return
    raise SecretError(
        f"{node._store.path!r} is sealed as a whole, and the names of the files would tell {told}:"
        f" give {instead}"
    )


def _named(pattern: str, number: str) -> str:
    return pattern.format(number)


def _safe(text: str) -> str:
    """Return text as it may stand in the name of a file on any system."""
    plain = re.sub(r"[^\w.+@=,-]", lambda m: "%" + m[0].encode().hex(), text)[:120]
    return plain if plain.strip(".") else f"%{plain}"


def _check(files: NewFiles, names: list[str]) -> None:
    for name in names:
        files.folder(os.path.dirname(name))
        files.check(name)


def _told(node: Node, view: View, progress: Progress | None) -> Callable[[int], None] | None:
    if progress is None:
        return None
    handle: Any = node
    total, done = max(1, int(handle.nbytes_stored)), 0

    def told(n: int) -> None:
        nonlocal done
        done = min(done + n, total)
        progress(done, total)

    return told


def _message(node: Node) -> str:
    """Return what the history of a part says: the name of the source, not where it lies."""
    return f"split from {os.path.basename(node._store.path)}"


def _origin(
    node: Node, view: View, start: int, stop: int, value: tuple[str, object] | None = None
) -> Origin:
    return Origin(node._store.uuid, view.state.shown, node._id, start, stop, value)


def _cuts(node: Node, view: View, rows: Any, parts: Any, at: Any) -> list[tuple[int, int]]:
    n = length_of(node, view)
    edges: Sequence[int] | None = None
    if node._kind == NodeKind.KEYSTORE:
        if at is not None:
            at = _key_places(node, view, list(at))
    elif node._kind == NodeKind.ARRAY:
        from kist.model.arrays.state import array_state

        edges = range(0, n, array_state(view, node._id, node._path).schema.chunks[0])
    elif parts is not None:
        from kist.model.tables.stored.state import state_of

        edges = state_of(view, node._id, node._path).layout.starts.tolist()
    return positions(repr(node._path), n, edges, rows=rows, parts=parts, at=at)


def _key_places(node: Node, view: View, cuts: list[Any]) -> list[int]:
    from kist.model.parts import keysink

    store: Any = node
    if not store._is_sealed(view):
        return keysink.key_places(keysink.packed_keys(view, node._id), node._path, cuts)
    from kist.model.parts import sealedwhole

    found = sealedwhole.packed_keys(view, node._id, node._path)
    return keysink.key_places(found, node._path, cuts)


def _by_column(
    node: Node, view: View, by: str, pattern: str, files: NewFiles, progress: Progress | None
) -> list[str]:
    """Fill the parts of some values at a time, each pass over the row groups that hold them."""
    if node._kind != NodeKind.TABLE:
        raise NodeError(f"{node._path!r} has no columns: by= splits tables")
    from kist.model.parts.bycolumn import deal_out, values_of
    from kist.model.parts.sealedfields import refuse_names
    from kist.model.parts.tablesink import TableSink
    from kist.model.parts.unequal import fit_of
    from kist.model.tables.stored.state import state_of

    state = state_of(view, node._id, node._path)
    refuse_names(state.schema, by, node._path)
    fit = fit_of(state.schema, state.schema)
    values = values_of(state, by)
    names = _distinct([_named(pattern, _safe(shown)) for shown in values.shown])
    _check(files, names)
    told = _told(node, view, progress)
    for first in range(0, len(names), _AT_ONCE):
        with ExitStack() as opened:
            makings = []
            for name in names[first : first + _AT_ONCE]:
                store = opened.enter_context(files.create(name))
                makings.append(Making(store, node._path, node, view, told))
            sinks = [making.sink for making in makings if isinstance(making.sink, TableSink)]
            deal_out(state, fit, by, values, first, sinks)
            for place, making in enumerate(makings, first):
                of = (by, values.shown[place])
                origin = _origin(node, view, 0, values.counts[place], of)
                making.finish(_message(node), origin)
    return names


def _distinct(names: list[str]) -> list[str]:
    """Return names that differ also where a file system knows no upper case."""
    seen: set[str] = set()
    out = []
    for name in names:
        stem, dot, end = name.rpartition(".")
        other, number = name, 2
        while other.lower() in seen:
            other, number = f"{stem}~{number}{dot}{end}", number + 1
        seen.add(other.lower())
        out.append(other)
    return out
