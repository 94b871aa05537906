"""Links: nodes that lead to other nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kist.errors import LinkError, TamperedDataError
from kist.format.link import LinkForm, LinkRecord
from kist.format.node import Child, NodeKind
from kist.model.links.follow import MANY_FILES, described, follow, handle_behind
from kist.model.links.records import get_link
from kist.model.node import Node
from kist.model.paths import split

if TYPE_CHECKING:
    from kist.engine import View

__all__ = ["Link"]


class Link(Node):
    """A node that leads to another one, in this store or in another file.

    Comes from ``group.create_link`` and ``group.open_link``. Looking up the path of a link gives
    what it leads to; moving, copying and deleting mean the link itself.

    Examples
    --------
    >>> import kist
    >>> with kist.open(":memory:") as store:
    ...     store["runs/17"] = [1, 2, 3]
    ...     link = store.create_link("newest", "runs/17")
    ...     link.target, store["newest"].name, link
    ('runs/17', '/runs/17', <kist.Link '/newest', link -> runs/17>)
    """

    kind = "link"
    _kind = NodeKind.LINK

    def _record(self, view: View | None = None) -> LinkRecord:
        return get_link(view or self._view(), self._id, self._path)

    @property
    def target(self) -> str:
        """Path that it leads to, relative to the group of the link unless it starts with ``/``."""
        said = self._record().said
        if "paths" in said:
            return ", ".join(said["paths"])
        return str(said["path"] if "path" in said else said["file"])

    @property
    def linked_file(self) -> str | None:
        """File that it leads to, relative to the folder of the store; None is the store itself."""
        record = self._record()
        return str(record.said["file"]) if "file" in record.said else None

    @property
    def version(self) -> int | str | None:
        """Commit or tag that is read there; None for the newest."""
        return self._record().said.get("version")

    @property
    def leads_to(self) -> str:
        """File, path and version in one text."""
        return described(self._record())

    def follow(self) -> Any:
        """Return the handle of what it leads to.

        Raises
        ------
        LinkError
            It leads nowhere, in a circle, or to a file that may not be opened.
        """
        view = self._view()
        return handle_behind(self._store, view, self._entry(), self._path)

    def dataset(self, view: View | None = None) -> Any:
        """Return the dataset that a link of many parts is; of other links what they lead to."""
        view = view or self._view()
        record = self._record(view)
        if record.form == LinkForm.UNION:
            return self.parent.union(*record.said["paths"])
        if record.form == LinkForm.PARTS:
            from kist.model.links.table import LinkedTable

            return LinkedTable(self, view)
        if record.form == LinkForm.ARRAYS:
            from kist.model.links.arrays import LinkedArrays

            return LinkedArrays(self, view)
        if record.form == LinkForm.BYTES:
            from kist.model.links.array import LinkedArray

            return LinkedArray(self, record)
        return self.follow()

    def renew(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Link the files of a linked table, or arrays, as they are now, and those that have come.

        Parameters
        ----------
        progress : callable, optional
            Called with files done and files in all.

        Raises
        ------
        LinkError
            It is another link, or a file is missing or may not be opened.
        DTypeError, ShapeError
            A dataset does not fit the first.
        """
        from kist.model.links.make import put_parts

        with self._write() as txn:
            record = self._record(txn)
            if record.form not in MANY_FILES:
                raise LinkError(
                    f"link {self._path!r} shows what is there at each time: nothing to renew"
                )
            said = record.said
            put_parts(self, txn, said["names"], said["path"], said.get("version"), progress)

    def _entry(self) -> Child:
        return Child(self._path.rpartition("/")[2], NodeKind.LINK, self._id)

    def _facts(self, view: View) -> dict[str, Any]:
        return self._listing(view)

    def _listing(self, view: View) -> dict[str, Any]:
        record = self._record(view)
        dangling = False
        try:
            end = follow(None, view, self._entry(), self._path)
            if end.entry.kind == NodeKind.LINK:
                self._look(get_link(view, end.entry.node, end.path), end.path)
        except (LinkError, TamperedDataError):
            dangling = True
        return {"leads_to": described(record), "dangling": dangling}

    def _look(self, record: LinkRecord, path: str) -> None:
        """Raise `LinkError` when files are missing; a listing opens none of them."""
        if record.form in (LinkForm.FILE, LinkForm.BYTES):
            self._store._links.find(self._store, record.said["file"], path)
        elif record.form in MANY_FILES:
            for file in record.said["files"]:
                self._store._links.find(self._store, file, path)

    def _words(self, listing: Mapping[str, Any]) -> str:
        return f"link -> {listing['leads_to']}" + (" (dangling)" if listing["dangling"] else "")

    def _check_records(self, view: View) -> list[str]:
        """Return what is wrong with its record. That it leads nowhere is no damage."""
        record = self._record(view)
        try:
            if record.form == LinkForm.PARTS:
                from kist.model.links.parts import Parts

                Parts(self._store, self._path, record)
            if record.form == LinkForm.ARRAYS:
                from kist.model.links.arrays import ArrayParts

                ArrayParts(record, self._path)
            if record.form == LinkForm.BYTES:
                from kist.model.links.array import checked_bytes

                checked_bytes(record, self._path)
            if "path" in record.said:
                split(record.said["path"])
        except ValueError as error:
            return [f"it leads to what is no path: {error}"]
        return []
