"""Making links."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kist.errors import LinkError, NodeError, NodeNotFoundError, SelectionError
from kist.format import keys
from kist.format.link import LinkForm, LinkRecord
from kist.model.links.follow import follow
from kist.model.links.records import put_link
from kist.model.node import Node
from kist.model.paths import split

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.model.links.link import Link

__all__ = ["make_array_link", "make_link", "make_union", "put_parts"]


def make_union(
    link: Link,
    txn: Transaction,
    paths: Sequence[str],
    files: Any,
    version: int | str | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Put what a link of many parts is made of.

    Raises
    ------
    SelectionError
        There is none, or what is neither a table nor an array.
    DTypeError, ShapeError
        They cannot be one.
    LinkError
        A file is missing or may not be opened.
    """
    if not paths or not all(isinstance(path, str) for path in paths):
        raise SelectionError("a union is of paths of datasets, or patterns such as 'trades/*'")
    if files is not None:
        if len(paths) > 1:
            raise SelectionError("a union over files is of one path, which is in each of them")
        split(paths[0])
        names = [files] if isinstance(files, str | os.PathLike) else list(files)
        put_parts(link, txn, names, paths[0], version, progress)
        return
    if version is not None:
        raise SelectionError("version= is for files=: datasets of this store are of one commit")
    put_link(txn, link._id, LinkRecord(LinkForm.UNION, {"paths": list(paths)}))
    try:
        link.dataset(txn)  # what is wrong is said now
    except NodeNotFoundError as error:
        meant = next((path for path in paths if path.endswith(".kist")), None)
        if meant is None:
            raise
        raise NodeNotFoundError(
            f"{error}; of datasets in other files it is made by files={meant!r}, and one path that"
            " is in each of them"
        ) from None


def make_array_link(
    link: Link,
    txn: Transaction,
    file: str | os.PathLike[str],
    dataset: str | None,
    described: tuple[Any, Any, int, str],
    sums: bool,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Put where the bytes of an array stand in a foreign file; `described` as for `place_of`.

    Raises
    ------
    LinkError
        The file is missing, may not be opened, or is of another format.
    SelectionError, ShapeError, DTypeError
        What stands there is no array of bytes in one piece.
    """
    from kist.model.links.files import relative_name
    from kist.model.links.foreign import described_bytes, place_of

    store = link._store
    name = relative_name(store, file)
    real = store._links.find(store, name, link._path)[0]
    place = place_of(real, dataset, *described)
    said = described_bytes(store, name, link._path, place, sums, progress)
    put_link(txn, link._id, LinkRecord(LinkForm.BYTES, said))


def put_parts(
    link: Link,
    txn: Transaction,
    names: Sequence[str | os.PathLike[str]],
    path: str,
    version: int | str | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Put what is known of the tables, or arrays, at one path of some files, as they are now."""
    from kist.model.links.files import real_files, relative_name
    from kist.model.links.gather import gather

    check_version(version)

    store = link._store
    known = [relative_name(store, name) for name in names]
    files = real_files(store, known, link._path)
    record = gather(store, link._path, files, path, version, progress)
    # An extent belongs to one record: the old one goes with it.
    txn.delete(keys.link(link._id))
    put_link(txn, link._id, LinkRecord(record.form, {**record.said, "names": known}))


def check_version(version: object) -> None:
    """Raise `TypeError` for what is neither commit nor tag."""
    if type(version) not in (int, str, type(None)):
        raise TypeError(f"a version is an int or a str, not {type(version).__name__}")


def make_link(
    link: Link,
    txn: Transaction,
    target: str | Node,
    file: str | os.PathLike[str] | None,
    version: int | str | None,
) -> None:
    """Put where a new link leads.

    Raises
    ------
    NodeError
        The target cannot be one.
    LinkError
        It would lead in a circle, or to a file that may not be opened.
    """
    store = link._store
    if isinstance(target, Node):
        if target._store is not store and file is None:
            file = target._store.path
        target = target.name
    split(target)
    if file is None:
        if version is not None:
            raise NodeError(
                "version= is for links to other files; to one of this store: "
                "file= with its own name"
            )
        put_link(txn, link._id, LinkRecord(LinkForm.PATH, {"path": target}))
        try:
            follow(None, txn, link._entry(), link._path)
        except LinkError as error:
            if error.cycle:
                raise
        return
    check_version(version)
    from kist.model.links.files import relative_name

    name = relative_name(store, file)
    said: dict[str, Any] = {"file": name, "path": target, "version": version, "store": None}
    real = store._links.allowed(store, name, link._path)
    if os.path.exists(real):
        other = store._links.open(store, LinkRecord(LinkForm.FILE, said), link._path)
        said["store"] = other.uuid
    put_link(txn, link._id, LinkRecord(LinkForm.FILE, said))
