"""Other files that links lead to: which may be opened, and those that are open.

A file says where its links lead, and whoever wrote it may mean harm. So what a link names is
looked up as the system would (symbolic links and ``..`` resolved), and opened only if it then
stands below an allowed folder; only regular files are opened, and only for reading.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import ref

from kist.errors import KistError, LinkError, StoreNotFoundError
from kist.format import keys

if TYPE_CHECKING:
    from kist.engine import View
    from kist.format.link import LinkRecord
    from kist.model.links.link import Link
    from kist.model.store import Store

__all__ = ["LinkedFiles", "folder_of", "real_files", "relative_name"]

_NO_FOLDER: Final = "is in no folder of this machine, and links to files are relative to that"

_MANY_TIMES: Final = re.compile(r"(?<![^/])\*\*/(?:\*\*/)+")

T = TypeVar("T")
Roots = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None


class LinkedFiles:
    """The files that links of one store lead to, and links of those; closed with that store.

    Parameters
    ----------
    store : Store
        Whose links were asked for first.
    roots : path, iterable of paths or None
        Folders below which files may be opened. None is the folder of the store.
    """

    def __init__(self, store: Store, roots: Roots) -> None:
        if roots is None:
            wanted = [folder] if (folder := folder_of(store)) else []
        elif isinstance(roots, str | os.PathLike):
            wanted = [os.fspath(roots)]
        else:
            wanted = [os.fspath(root) for root in roots]
        self.roots = [os.path.realpath(root) for root in wanted]
        self._owner = ref(store)
        # Not held: what was replaced, or was another store, closes with its last handle.
        self._others: list[ref[Store]] = []
        self._loaded: dict[tuple[str, int], tuple[bytes, Any]] = {}
        self._lock = threading.RLock()
        self._open: dict[tuple[str, int | str | None], tuple[Store, tuple[int, int]]] = {}
        self._follows = store.mode != "r"

    def allowed(self, store: Store, file: str, link: str) -> str:
        """Return the real path of what a link names, whether it is there or not.

        Raises
        ------
        LinkError
            It is in no allowed folder.
        """
        folder = folder_of(store)
        if folder is None:
            raise LinkError(f"link {link!r}: {store.path!r} {_NO_FOLDER}")
        if not file or os.path.isabs(file):
            raise LinkError(f"link {link!r} leads to {file!r}, which is no relative path")
        try:
            real = os.path.realpath(os.path.join(folder, file))
            inside = any(os.path.commonpath([real, root]) == root for root in self.roots)
        except (OSError, ValueError) as error:  # NUL, or what the system cannot name
            raise LinkError(f"link {link!r} leads to {file!r}: {error}") from error
        if not inside:
            raise LinkError(
                f"link {link!r} leads to {real!r}, and files are opened only below "
                f"{', '.join(map(repr, self.roots)) or 'no folder'}: open the store with "
                "link_roots= to allow others"
            )
        return real

    def find(self, store: Store, file: str, link: str) -> tuple[str, os.stat_result]:
        """Return the real path of a file that a link names, and what the system says of it.

        Raises
        ------
        LinkError
            It is missing, no regular file, or in no allowed folder.
        """
        real = self.allowed(store, file, link)
        try:
            found = os.stat(real)
        except FileNotFoundError:
            raise LinkError(
                f"link {link!r} leads to {real!r}, which is not there: put"
                " the file back, or make the link anew"
            ) from None
        except OSError as error:
            raise LinkError(f"link {link!r} leads to {real!r}: {error}") from error
        if not stat.S_ISREG(found.st_mode):
            raise LinkError(f"link {link!r} leads to {real!r}, which is no regular file")
        return real, found

    def open(self, store: Store, record: LinkRecord, link: str) -> Store:
        """Return the store that a link leads to, opened for reading.

        Raises
        ------
        LinkError
            It cannot be opened, is another store than the one that was linked, or lacks the
            version.
        """
        said = record.said
        real, found = self.find(store, said["file"], link)
        key = real, said["version"]
        inode = found.st_dev, found.st_ino
        with self._lock:
            known = self._open.get(key)
            if known is not None and not known[0].closed:
                other, was = known
                if not self._follows or said["version"] is not None:
                    return self._checked(other, said, link)
                if was == inode:
                    other._session.refresh()
                    return self._checked(other, said, link)
                # Handles of the file that stood there before stay good.
            other = self.fresh(real, said["version"], link)
            self._others = [one for one in self._others if one() is not None]
            self._others.append(ref(other))
            self._checked(other, said, link)
            self._open[key] = other, inode
            return other

    def is_open(self, store: Store, file: str, version: int | str | None) -> bool:
        """Tell whether a file that a link names is open."""
        real = os.path.realpath(os.path.join(folder_of(store) or "", file))
        return (real, version) in self._open

    def fresh(self, real: str, version: int | str | None, link: str) -> Store:
        """Return a file that was found, opened for reading; its own links are held to our folders.

        It gets the secrets of the first store, without those that were given by name.

        Raises
        ------
        LinkError
            It cannot be opened, or lacks the version.
        """
        from kist.model.store import open

        owner = self._owner()
        ring = owner._session.engine.reader.keyring if owner is not None else None
        try:
            other = open(real, "r", version=version, secrets=ring and ring.for_others())
        except StoreNotFoundError:
            raise LinkError(
                f"link {link!r} leads to {real!r}, which is not there: put"
                " the file back, or make the link anew"
            ) from None
        except (KistError, OSError) as error:
            few = ""
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                few = "; `ulimit -n` lets this process have more files open"
            raise LinkError(f"link {link!r} leads to {real!r}: {error}{few}") from error
        other._linked = self
        return other

    def _checked(self, other: Store, said: dict[str, Any], link: str) -> Store:
        if said["store"] is not None and other.uuid != said["store"]:
            raise LinkError(
                f"link {link!r} leads to {other.path!r}, which is another store than the one that "
                "was linked: make the link anew if that is meant"
            )
        return other

    def linked(self, link: Link, view: View, load: Callable[[LinkRecord], T]) -> T:
        """Return what a function makes of the record of a link, made once for each content.

        Only the last content is kept: parts that nobody uses any more hold commits of their files.
        """
        value = view.get(keys.link(link._id)) or b""
        key = link._store.path, link._id
        with self._lock:
            known = self._loaded.get(key)
            if known is None or known[0] != value:
                known = self._loaded[key] = value, load(link._record(view))
            found: T = known[1]
            return found

    def close_for(self, store: Store) -> None:
        """Close all files, if it is the store whose links came first that is closed."""
        if self._owner() is store:
            with self._lock:
                while self._others:
                    if (other := self._others.pop()()) is not None:
                        other.close()
                self._open.clear()
                self._loaded.clear()

    def refresh(self) -> None:
        """Show the newest commits of the files that are followed, and files that were replaced."""
        with self._lock:
            for key, (other, inode) in list(self._open.items()):
                if key[1] is not None:
                    continue
                try:
                    found = os.stat(key[0])
                except OSError:
                    found = None
                if found is None or (found.st_dev, found.st_ino) != inode:
                    del self._open[key]  # looked up anew by who follows the link
                else:
                    other._session.refresh()


def real_files(store: Store, names: Iterable[str | os.PathLike[str]], link: str) -> list[Any]:
    """Return (name relative to the folder of a store, real path) of names and patterns, each once.

    Raises
    ------
    LinkError
        A pattern matches nothing, or a file is missing or in no allowed folder.
    """
    from glob import glob

    from kist.model.unions.members import has_pattern

    found: dict[str, str] = {}
    for one in names:
        name = relative_name(store, one)  # which raises where there is no folder
        several, folder = [name], folder_of(store) or ""
        if has_pattern(name) and not os.path.exists(os.path.join(folder, name)):
            _check_pattern(store, name, link)
            # One after the other they mean the same, in more ways than there is time for.
            short = _MANY_TIMES.sub("**/", name)
            several = sorted(glob(short, root_dir=folder, recursive=True))
            if not several:
                raise LinkError(f"link {link!r}: no file in {folder!r} matches {name!r}")
        for file in several:
            # The first of several names counts: the rows of a file are there once.
            found.setdefault(store._links.find(store, file, link)[0], file)
    return [(name, real) for real, name in found.items()]


def _check_pattern(store: Store, pattern: str, link: str) -> None:
    """Raise where a pattern would have folders listed that are not allowed.

    `renew` looks for what the file says: nobody's disk shall be searched because of it.
    """
    from kist.model.unions.members import has_pattern

    names = pattern.split("/")
    first = next(at for at, name in enumerate(names) if has_pattern(name))
    if ".." in names[first:]:
        raise LinkError(f"link {link!r}: pattern {pattern!r} has '..' behind a wildcard")
    store._links.allowed(store, "/".join(names[:first]) or ".", link)


def relative_name(store: Store, file: str | os.PathLike[str]) -> str:
    """Return how a link of a store names a file: relative to the folder of the store.

    Raises
    ------
    LinkError
        The store is in no folder.
    """
    name = os.fspath(file)
    if not isinstance(name, str):
        raise TypeError(f"the file is a str or a path object, not {type(file).__name__}")
    folder = folder_of(store)
    if folder is None:
        raise LinkError(f"{store.path!r} {_NO_FOLDER}")
    return os.path.relpath(os.path.realpath(name), folder) if os.path.isabs(name) else name


def folder_of(store: Store) -> str | None:
    """Return the folder in which a store really stands, None for one that is in none."""
    if store._session.source is not None or store.path == ":memory:":
        return None
    return os.path.dirname(os.path.realpath(store.path))
