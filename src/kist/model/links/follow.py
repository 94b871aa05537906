"""From a link to what it leads to, through other links and, where they may be read, other files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kist.errors import CorruptDataError, LinkError, NodeNotFoundError, TamperedDataError
from kist.format import keys
from kist.format.link import LinkForm
from kist.format.node import Child, NodeKind
from kist.model import directory
from kist.model.handles import make_handle
from kist.model.links.records import get_link
from kist.model.paths import join, split

if TYPE_CHECKING:
    from kist.engine import View
    from kist.format.link import LinkRecord
    from kist.model.store import Store

__all__ = ["MANY_FILES", "MAX_LINKS", "End", "described", "follow", "handle_behind", "within"]

MAX_LINKS: Final = 40
"""Links that one look-up follows, as in Linux."""

Names = tuple[str, ...]

MANY_FILES: Final = (LinkForm.PARTS, LinkForm.ARRAYS)
"""Forms of links whose parts stand in other files."""

_DATASETS: Final = (LinkForm.UNION, *MANY_FILES, LinkForm.BYTES)
"""Forms of links that are datasets themselves."""


class End(NamedTuple):
    """Where links lead in the end.

    Attributes
    ----------
    store : Store or None
        The open file; None if it is the one that was asked about.
    view : View
        What that file shows.
    entry : Child
        The node. A link, if that is itself a dataset.
    path : str
        Its path there.
    """

    store: Store | None
    view: View
    entry: Child
    path: str


def described(record: LinkRecord) -> str:
    """Return where a link leads, for people."""
    said = record.said
    if record.form == LinkForm.PATH:
        return str(said["path"])
    if record.form == LinkForm.UNION:
        return f"union of {', '.join(map(str, said['paths']))}"
    if record.form in MANY_FILES:
        at = f" at {said['version']!r}" if said.get("version") is not None else ""
        return f"{said['path']} of {len(said['files']):,} files{at}"
    if record.form == LinkForm.BYTES:
        return f"{said['file']}, bytes from {said['offset']:,}"
    version = said["version"]
    return f"{said['file']}:{said['path']}" + (f" at {version!r}" if version is not None else "")


def follow(store: Store | None, view: View, link: Child, path: str, rest: Names = ()) -> End:
    """Follow a link, and the names behind it, to what it stands for in the end.

    Parameters
    ----------
    store : Store or None
        Of the link. None looks at no other file: the end is then the link that leads to one.
    view : View
        What that store shows.
    link, path : Child, str
        The link.
    rest : tuple of str
        What stands behind it in the path that is looked up.

    Raises
    ------
    LinkError
        Something on the way is missing, leads in a circle, or is in a file that may not be read.
    TamperedDataError
        A secret was given by name for a column below a link.
    """
    origin, known, met = path, store, []
    seen: set[tuple[int, int, Names]] = set()
    at = store
    while True:
        _check_promises(view, path)
        record = get_link(view, link.node, path)
        met.append(f"{path!r} -> {described(record)}")
        step = (id(at), link.node, rest)
        if step in seen or len(met) > MAX_LINKS:
            why = "in a circle" if step in seen else f"through more than {MAX_LINKS} links"
            raise LinkError(f"link {origin!r} leads {why}: {_chain(met)}", cycle=True)
        seen.add(step)
        if record.form in _DATASETS:
            if rest and at is not None:
                raise LinkError(
                    f"link {path!r} is {described(record)}: paths do not descend into it"
                )
            return End(at if at is not known else None, view, link, path)
        absolute, names = _target(record, path)
        if record.form == LinkForm.PATH:
            above = None if absolute else directory.record(view, link.node)
            group = keys.ROOT if above is None else above.parent
            start = "/" if absolute else path.rpartition("/")[0] or "/"
        else:
            if at is None:
                return End(None, view, link, path)
            at = at._links.open(at, record, path)
            view, group, start = at._view(), keys.ROOT, "/"
        names += rest
        try:
            link, path, used = directory.descend(view, group, names, start)
        except LinkError:
            raise
        except NodeNotFoundError as error:
            raise LinkError(f"link {origin!r} leads nowhere: {error} ({_chain(met)})") from None
        rest = names[used:]
        if link.kind != NodeKind.LINK:
            return End(at if at is not known else None, view, link, path)


def _check_promises(view: View, path: str) -> None:
    """Raise where a secret was given by name for what a link stands in the way of.

    Who writes the file could else put a table of their own in the place of a sealed one.
    """
    ring = view.reader.keyring
    if ring is not None and (ring.promises(path) or ring.promises_dataset(path)):
        raise TamperedDataError(
            f"{path!r} is a link, and a secret was given by name for what is there, or a column of "
            "it: what a link leads to need not be sealed. Name the dataset where it stands; if that"
            " was here, do not trust the file"
        )


def _chain(met: list[str]) -> str:
    return ", ".join(met[:4]) + (", ..." if len(met) > 4 else "")


def _target(record: LinkRecord, path: str) -> tuple[bool, Names]:
    try:
        return split(record.said["path"])
    except ValueError as error:
        raise LinkError(f"link {path!r} leads to what is no path: {error}") from None


def within(
    view: View, link: Child, path: str, rest: Names = (), *, last: bool = True
) -> tuple[Child, str]:
    """Follow a link in one store; return entry and path.

    Without `last`, a link at the end of `rest` is meant itself.

    Raises
    ------
    LinkError
        As `follow`; or it leads to another file.
    """
    end = follow(None, view, link, path, rest if last else rest[:-1])
    if end.entry.kind == NodeKind.LINK:
        raise LinkError(
            f"link {end.path!r} leads to what stands elsewhere or is made of others, "
            "which a link only reads"
        )
    if not last:
        entry = directory.find(view, end.entry.node, rest[-1:], end.path)
        return entry, join(end.path, rest[-1])
    return end.entry, end.path


def handle_behind(store: Store, view: View, link: Child, path: str, rest: Names = ()) -> Any:
    """Return the handle of what a link leads to, and the names behind it.

    Raises
    ------
    LinkError
        As `follow`.
    CorruptDataError
        It is listed as a link, or as none, and its record says otherwise.
    """
    end = follow(store, view, link, path, rest)
    found: Any = make_handle(end.store or store, end.view, end.entry.node, end.path)
    is_link = found._kind == NodeKind.LINK
    if is_link != (end.entry.kind == NodeKind.LINK):
        raise CorruptDataError(
            f"{end.path!r} is listed as {'no ' if is_link else 'a '}link, and its record says"
            " otherwise; 'kist check' lists all damage",
            node=end.path,
        )
    return found.dataset(end.view) if is_link else found
