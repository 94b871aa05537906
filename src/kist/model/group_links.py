"""What groups do with links."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kist import model
from kist.errors import NodeNotFoundError
from kist.format.node import NodeKind
from kist.model.group_maker import Maker, other_kind
from kist.model.node import Node

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.model.links.link import Link

__all__ = ["LinkMaker"]


class LinkMaker(Maker):
    """The part of a group that makes and opens links."""

    def create_link(
        self,
        name: str,
        target: str | Node,
        *,
        file: str | os.PathLike[str] | None = None,
        version: int | str | None = None,
        title: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Link:
        """Make a node that leads to another one, and the groups on the way to it.

        Parameters
        ----------
        name : str
            Path of the link.
        target : str or Node
            Path that it leads to, which need not be there; relative to the group that holds the
            link, and in another file to the root. Or the handle of a node, also of another store.
        file : path, optional
            Another kist file, relative to the folder of this one. It is only read through the
            link, and must stand below that folder unless `link_roots` of `open` says otherwise.
            If it is there, the link knows it from then on from any other store.
        version : int or str, optional
            Commit or tag of that file to read; without it the newest.
        title, attrs : optional
            Attributes of the link.
        overwrite : bool
            Replace a link of that name.

        Raises
        ------
        NodeExistsError
            Something stands there.
        LinkError
            It would lead in a circle, or to a file that may not be opened.

        Examples
        --------
        >>> import kist
        >>> with kist.open(":memory:") as store:
        ...     store["runs/16"], store["runs/17"] = [0.5], [1.5, 2.5]
        ...     link = store.create_link("newest", "runs/17")
        ...     store["newest"][:], list(store)
        (array([1.5, 2.5]), ['newest', 'runs'])
        """
        from kist.model.links.make import make_link

        with self._making(name, overwrite, attrs, title) as (link, txn):
            make_link(link, txn, target, file, version)
        return link

    def create_union(
        self,
        name: str,
        *paths: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
        version: int | str | None = None,
        title: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Link:
        """Make a node that is many tables, or arrays, read as one; nothing is copied.

        Parameters
        ----------
        name : str
            Path of the union.
        *paths : str
            Paths of datasets or patterns, as for `union`, relative to the group that holds the
            union; looked up each time it is opened. With `files`: the path of the table, or of the
            array, in each of them.
        files : path or iterable of paths, optional
            Names and patterns of other kist files, relative to the folder of this one:
            ``"parts/*.kist"``. They are looked through once, now; `Link.renew` does that again.
            Of each array the length is noted, of each table sizes and bounds of its columns, so
            that only those parts are opened that are needed. Rows of tables are shown as they
            are now, elements of arrays as they are when they are read.
        version : int or str, optional
            Commit or tag of those files to read; without it the newest.
        title, attrs : optional
            Attributes of the link.
        overwrite : bool
            Replace a link of that name.
        progress : callable, optional
            Called with files done and files in all.

        Raises
        ------
        DTypeError, ShapeError
            The columns of tables differ (shows the difference), or dtypes and shapes of arrays.
        LinkError
            A file is missing, or stands in no folder that is allowed.
        NodeExistsError
            Something stands there.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     store["day/1"], store["day/2"] = np.zeros(3, "i4,f8"), np.ones(2, "i4,f8")
        ...     link = store.create_union("days", "day/*")
        ...     store["days"].where("f0 == 1").count()
        2
        """
        from kist.model.links.make import make_union

        with self._making(name, overwrite, attrs, title) as (link, txn):
            make_union(link, txn, paths, files, version, progress)
        return link

    def create_array_link(
        self,
        name: str,
        file: str | os.PathLike[str],
        dataset: str | None = None,
        *,
        dtype: Any = None,
        shape: Any = None,
        offset: int = 0,
        order: str = "C",
        sums: bool = True,
        title: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Link:
        """Make a node that is an array whose values stay in a file of another format.

        Parameters
        ----------
        name : str
            Path of the link.
        file : path
            An NPY file, an HDF5 file, or any other; relative to the folder of this store, and
            below it unless `link_roots` of `open` says otherwise.
        dataset : str, optional
            Of an HDF5 file: a dataset whose values stand in one piece. Needs h5py now, not later.
        dtype, shape : optional
            Of the bytes of another file, as for NumPy.
        offset : int
            The byte with which these begin.
        order : {"C", "F"}
            Whether the last or the first axis runs fastest in them.
        sums : bool
            Read the file through once and keep a sum for each MiB, so that every byte is verified
            when it is read. Without, the file must keep its size and time of change.
        title, attrs : optional
            Attributes of the link.
        overwrite : bool
            Replace a link of that name.
        progress : callable, optional
            Called with bytes done and bytes in all.

        Raises
        ------
        LinkError
            The file is missing, of no known format, or in no folder that is allowed.
        SelectionError, ShapeError, DTypeError
            What stands there is no array in one piece.
        NodeExistsError
            Something stands at the name.

        Examples
        --------
        >>> import kist, numpy as np
        >>> from pathlib import Path
        >>> n = Path("raw.bin").write_bytes(b"head" + np.arange(6, dtype="<i2").tobytes())
        >>> with kist.open("lab.kist", "w") as store:
        ...     link = store.create_array_link("raw", "raw.bin", dtype="<i2", shape=6, offset=4)
        ...     store["raw"][::2]
        array([0, 2, 4], dtype=int16)
        """
        from kist.model.links.make import make_array_link

        described = dtype, shape, offset, order
        with self._making(name, overwrite, attrs, title) as (link, txn):
            make_array_link(link, txn, file, dataset, described, sums, progress)
        return link

    @contextmanager
    def _making(
        self, name: str, overwrite: bool, attrs: Mapping[str, Any] | None, title: str | None
    ) -> Iterator[tuple[Link, Transaction]]:
        """Give a new link, of which the block says where it leads."""
        with self._write() as txn:
            link: Any = self._new(txn, name, NodeKind.LINK, overwrite)
            yield link, txn
            model.attributes.copy_attributes(link, attrs, title)

    def open_link(self, name: str) -> Link:
        """Return a link itself, which must exist, rather than what it leads to.

        Raises
        ------
        NodeNotFoundError
            There is none, or something else stands there.
        """
        from kist.model.handles import make_handle
        from kist.model.links.link import Link

        group: Any = self
        view = group._view()
        entry, where = group._find(view, name, last=False)
        node = make_handle(self._store, view, entry.node, where)
        if not isinstance(node, Link):
            raise NodeNotFoundError(other_kind(node, Link))
        return node
