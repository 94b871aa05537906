"""The open file: `open` and `Store`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal
from weakref import finalize

from kist import model
from kist.errors import (
    KeyNotFoundError,
    NodeNameError,
    SnapshotError,
    TamperedDataError,
)
from kist.format import keys
from kist.format.layout import FORMAT_VERSION
from kist.model.directory import maintain
from kist.model.group import Group
from kist.model.paths import is_plain
from kist.model.session import Session
from kist.model.transactions import Transactional, Turn

if TYPE_CHECKING:
    from kist.engine import Durability
    from kist.engine.engine import Engine
    from kist.model.check import CheckReport
    from kist.model.history import History, Tags
    from kist.model.info import Info
    from kist.model.links.files import LinkedFiles, Roots

__all__ = ["Store", "open"]

Progress = Callable[[int, int], None]


class _Default(str):
    """A default that can be told from the same string given by the caller."""

    __slots__ = ()


_READ = _Default("r")


def open(
    path: str | os.PathLike[str] | Any,
    mode: Literal["r", "r+", "a", "w", "x"] | str = _READ,
    *,
    version: int | str | None = None,
    timeout: float = 30.0,
    durability: Durability = "full",
    retain: int = 0,
    overwrite: bool = False,
    allow_pickle: bool = False,
    secrets: object = None,
    encrypt: object = None,
    expect_commit: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    cache: str | os.PathLike[str] | None = None,
    link_roots: Roots = None,
) -> Store:
    """Open a store.

    Parameters
    ----------
    path : str, path object or file of fsspec
        The file, or ``":memory:"`` for a store that goes with its handle. An address
        (``https://data.example.org/lab.kist``, ``s3://example/key``, ``gs:``, ``az:``) or a file
        of fsspec is read over the network, piece by piece.
    mode : {"r", "r+", "a", "w", "x"}
        ``r`` reads one commit until `Store.refresh`. ``r+`` writes a store that exists, ``a`` one
        that is made if need be, ``x`` one that must not exist. ``w`` empties a store in its first
        commit. A store in memory is opened with ``a`` unless told otherwise.
    version : int or str, optional
        A commit number or a tag to read instead of the newest commit.
    timeout : float
        Longest wait for other writers, in seconds; for a range of a file behind a server, in all
        attempts together, and a second more for each 16 KiB that came.
    durability : {"full", "relaxed", "none"}
        ``full``: what has returned survives the loss of power. ``relaxed``: it survives the death
        of the process; the last seconds before a loss of power may go, in order. ``none``: the
        system decides when to write.
    retain : int
        How many further versions to keep beyond tags and the snapshots of open readers.
    overwrite : bool
        Let ``w`` replace a file that is not a store.
    allow_pickle : bool
        Reserved: files of this version hold no pickled objects, whatever is said here.
    secrets : secret, list of secrets, or dict of str to them, optional
        What opens sealed fields: a key of 32 bytes, a passphrase, or a callable that asks a key
        service. In a dict each is for a column, ``{"trades/name": secret}``, or for the whole
        store, ``{"/": secret}``, which must be sealed.
    encrypt : secret, list of secrets, or dict of labels to secrets, optional
        Seal all of a store that is made here (``x``, ``a``, ``w``): values, names, attributes,
        schemas, messages. Each of the secrets opens it. A store that is there must be sealed.
    expect_commit : int, optional
        Raise when the file shows an earlier commit than this: somebody put an old copy back.
    storage_options : mapping, optional
        For an address: what obstore takes, such as ``region``, ``endpoint``, ``access_key_id``
        and ``skip_signature``. The rest comes from the environment.
    cache : path, optional
        For an address: folder that keeps what was read, up to `options.cache_bytes`.
    link_roots : path or iterable of paths, optional
        Folders below which links to other files are followed; without it the folder of this file,
        and ``[]`` follows none.

    Returns
    -------
    Store
        The root group; a context manager that closes the file.

    Raises
    ------
    StoreNotFoundError, StoreExistsError
        There is no file (``r``, ``r+``), or there is one (``x``).
    NotAStoreError
        The file is something else, or was never finished.
    UnsupportedVersionError
        It needs a newer kist.
    SnapshotExpiredError
        The version is not kept.
    CorruptDataError
        It is damaged in a way that forbids writing; ``r`` still reads it.
    SecretError
        The whole file is sealed and no secret was given; or something in `secrets` is none.
    WrongSecretError
        The whole file is sealed under another secret.
    TamperedDataError
        It shows an earlier commit than expected; or somebody without the secret has changed a
        sealed store, or put one in clear in its place.

    Examples
    --------
    >>> import kist
    >>> with kist.open(":memory:") as store:
    ...     store.create_group("raw").name
    '/raw'
    """
    from kist.engine import Engine

    keyring = source = None
    if secrets is not None:
        from kist.engine.keyring import Keyring

        try:
            keyring = secrets if isinstance(secrets, Keyring) else Keyring(secrets)
        finally:
            secrets = None  # a traceback would show it
    new_secrets = None
    if encrypt is not None:
        from kist.model.storesecrets import for_new_store

        try:
            new_secrets, keyring = for_new_store(encrypt, keyring)
        finally:
            encrypt = None
    if storage_options is not None or cache is not None or not is_plain(path):
        from kist.model.remote import Source, local_path, source_of

        path = local_path(path)
        if isinstance(path, Source):  # of a handle that was pickled
            source, timeout = path, path.timeout
        else:
            source = source_of(path, mode, storage_options, cache, timeout)
    name = ":remote:" if source is not None else os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"the path is a str or a path object, not {type(path).__name__}")
    if mode not in ("r", "r+", "a", "w", "x"):
        raise ValueError(f"mode is 'r', 'r+', 'a', 'w' or 'x', not {mode!r}")
    if durability not in ("full", "relaxed", "none"):
        raise ValueError(f"durability is 'full', 'relaxed' or 'none', not {durability!r}")
    if version is not None and mode != "r":
        raise ValueError(f"version= opens for reading only: leave mode {mode!r} out")
    if name == ":memory:" and mode is _READ and version is None:
        mode = "a"
    if new_secrets is not None and mode in ("r", "r+"):
        raise ValueError(f"encrypt= seals a store that is made, and mode {str(mode)!r} makes none")
    if source is None and name != ":memory:":
        name = os.path.abspath(name)  # the handle outlives a change of the directory

    def opened(engine_mode: str) -> Engine:
        if source is not None:
            return source.open(keyring)
        return Engine.open(
            name,
            engine_mode,
            durability=durability,
            timeout=timeout,
            retain=retain,
            overwrite=overwrite,
            keyring=keyring,
            encrypt=new_secrets,
        )

    def reopened() -> Engine:
        fresh = opened("r+")
        fresh.maintain = maintain
        return fresh

    engine = opened(mode)
    engine.maintain = maintain
    if source is not None:
        name = engine.path
    try:
        if expect_commit is not None and engine.state.shown < expect_commit:
            raise TamperedDataError(
                f"{name!r} shows commit {engine.state.shown}, expected was {expect_commit} or a "
                "later one: an older copy of the file was put back"
            )
        session = Session(
            engine,
            reopened,
            mode="r" if mode == "r" else "r+",
            version=version,
            timeout=timeout,
            full=durability == "full",
            name=name,
            empty_first=mode == "w",
            source=source,
        )
    except BaseException:
        engine.close()
        raise
    return Store(session, str(mode), durability, retain, allow_pickle, link_roots)


class Store(Transactional, Group):
    """An open file, which is also its root group. Comes from `kist.open`.

    A mutating call is a commit of its own and on disk when it returns; `transaction` makes one
    commit of several calls. An open store holds no lock. Threads may share it.
    """

    def __init__(
        self,
        session: Session,
        mode: str,
        durability: Durability,
        retain: int,
        allow_pickle: bool,
        link_roots: Roots = None,
    ) -> None:
        self._session = session
        self.allow_pickle = allow_pickle
        self._id = keys.ROOT
        self._created_ns = 0
        self._path = "/"
        self._seen = -1
        self._left = (-1, None)
        self.mode = mode
        self.durability: Durability = durability
        self.retain = retain
        self._link_roots = link_roots
        self._linked: LinkedFiles | None = None
        # The file is closed when the last handle goes, if nobody closed it.
        self._finalizer = finalize(self, session.close)

    @property
    def _store(self) -> Store:  # type: ignore[override]
        return self  # not an attribute: a cycle would keep the file open

    @property
    def _links(self) -> LinkedFiles:
        """Other files that links lead to."""
        if self._linked is None:
            from kist.model.links.files import LinkedFiles

            self._linked = LinkedFiles(self, self._link_roots)
        return self._linked

    # The file

    @property
    def path(self) -> str:
        """Absolute path, ``':memory:'``, or an address without what is secret in it."""
        return self._session.name

    @property
    def filename(self) -> str:
        """The same, under h5py's name for it."""
        return self._session.name

    @property
    def closed(self) -> bool:
        """Whether the store was closed."""
        return self._session.closed

    @property
    def uuid(self) -> bytes:
        """Identity of the store, 16 bytes; a copy of the file has the same."""
        return self._session.engine.uuid

    @property
    def format_version(self) -> int:
        """Version of the file format."""
        return FORMAT_VERSION

    @property
    def commit_id(self) -> int:
        """Commit that is read here now; 0 before the first one."""
        return self._view().state.shown

    def close(self) -> None:
        """Close the file; a pending `begin` is rolled back. A second call does nothing.

        Files that links of it have led to are closed with it.
        """
        try:
            if self._linked is not None:
                self._linked.close_for(self)
        finally:
            self._finalizer()

    def __enter__(self) -> Store:
        self._session.check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # What is shown

    def refresh(self) -> int:
        """Move a handle of mode ``r`` to the newest commit; returns the commit id.

        Files that links lead to move with it, unless the link names a version.

        Raises
        ------
        SnapshotError
            The store was opened with ``version=``, which stays.
        """
        if self._session.version is not None:
            raise SnapshotError(
                f"this handle shows version {self._session.version!r}; open the store without "
                "version= to follow it"
            )
        self._session.refresh()
        if self._linked is not None:
            self._linked.refresh()
        return self.commit_id

    def sync(self) -> None:
        """Make all commits of this process durable now, whatever `durability` says."""
        self._session.check_open()
        if self._session.mode != "r":
            self._session.engine.sync()

    def flush(self) -> None:
        """Make all commits of this process durable now; h5py's name for `sync`."""
        self.sync()

    # Versions

    def history(self) -> History:
        """Return the commits that can still be opened, newest first: a list of `Commit`."""
        self._session.check_open()
        return model.history.History(
            [model.history.commit_of(info) for info in self._session.engine.history()]
        )

    @property
    def tags(self) -> Tags:
        """Names of kept commits."""
        self._session.check_open()
        return model.history.Tags(self._session.engine)

    def at(self, version: int | str) -> Store:
        """Return another handle of the file, which shows a commit or a tag; close it as well.

        It can open what this handle can: with the same secrets and the same `link_roots`.

        Raises
        ------
        SnapshotExpiredError
            The commit is not kept any more, or there is no such tag.

        Examples
        --------
        >>> import kist
        >>> store = kist.open("lab.kist", "w")
        >>> store["x"] = [1, 2]
        >>> store.tag("first")
        1
        >>> store["x"][0] = 7
        >>> with store.at("first") as before:
        ...     before["x"][0], store["x"][0]
        (np.int64(1), np.int64(7))
        """
        return open(
            self._session.source or self.path,
            "r",
            version=version,
            allow_pickle=self.allow_pickle,
            secrets=self._session.engine.reader.keyring,
            link_roots=self._link_roots,
        )

    def tag(self, name: str, commit: int | None = None, move: bool = False) -> int:
        """Keep a commit under a name until `untag`; returns its id.

        Parameters
        ----------
        name : str
            Not all digits, because ``version="12"`` would be doubtful.
        commit : int, optional
            By default the newest.
        move : bool
            Take the name away from another commit.

        Raises
        ------
        SnapshotExpiredError
            The commit is not kept any more.
        NodeNameError
            The name cannot be one, or names another commit and `move` is false.
        """
        if not isinstance(name, str) or not name or name.isdigit() or len(name.encode()) > 255:
            raise NodeNameError(f"{name!r} cannot be a tag: text of 1 to 255 bytes, not all digits")
        with Turn(self._session, "tag"):
            engine = self._session.engine
            known = engine.tags()
            wanted = engine.state.shown if commit is None else commit
            if name in known and known[name] != wanted and not move:
                raise NodeNameError(
                    f"tag {name!r} names commit {known[name]}; move=True gives it to another"
                )
            if known.get(name) == wanted:
                return wanted
            return engine.tag(name, commit, move=move)

    def untag(self, name: str) -> None:
        """Let a tagged commit go.

        Raises
        ------
        KeyNotFoundError
            There is no such tag.
        """
        with Turn(self._session, "untag"):
            if name not in self._session.engine.tags():
                raise KeyNotFoundError(f"there is no tag {name!r}")
            self._session.engine.untag(name)

    # Secrets of a store that is sealed as a whole

    @property
    def sealed(self) -> tuple[str, ...]:
        """Labels of the secrets that open the store; empty where it is not sealed as a whole."""
        sealing = self._session.engine.reader.sealing
        return () if sealing is None else tuple(slot.label for slot in sealing.lock.slots)

    def add_secret(self, secret: Any, *, label: str | None = None) -> str:
        """Let one more secret open a sealed store, and return its label; no data are written.

        Parameters
        ----------
        secret : bytes, str or callable
            As for `open`.
        label : str, optional
            By which it is removed again; the next free number by default. It stands in clear.

        Raises
        ------
        SecretError
            The store is not sealed, has 16 secrets or one of that label, or no room for more.
        """
        given, secret = model.storesecrets.Held(secret), b""  # a traceback would show it
        return model.storesecrets.add_secret(self._session, given, label)

    def remove_secret(self, label: str) -> None:
        """Let a secret no longer open the store; `rotate` locks out who had it.

        Raises
        ------
        SecretError
            The store is not sealed, has no secret of that label, or no other one.
        """
        model.storesecrets.remove_secret(self._session, label)

    def rotate(self, secrets: Any = None, *, now: bool = False) -> None:
        """Seal what is written from now on under a new key.

        Parameters
        ----------
        secrets : secret, list, or dict of labels and secrets, optional
            All secrets that shall open the store from now on. Whoever had another one is locked
            out of what is written later. By default those that are there stay.
        now : bool, default False
            Seal again what is there too. Older versions and tags keep what they have.

        Raises
        ------
        SecretError
            The store is not sealed, or has no room for further keys.
        """
        given, secrets = model.storesecrets.Held(secrets), None  # a traceback would show it
        model.storesecrets.rotate(self._session, given, now)

    # Upkeep

    def compact(self, progress: Progress | None = None) -> int:
        """Give unused space back to the file system; returns how many bytes.

        Works in place, by ordinary transactions: an interrupt loses nothing. Space that a tag or
        a reader needs stays.
        """
        with Turn(self._session, "compact"):
            return self._session.engine.compact(progress)

    def backup(
        self,
        target: str | os.PathLike[str],
        *,
        compact: bool = False,
        overwrite: bool = False,
        durability: Durability = "full",
        progress: Progress | None = None,
    ) -> int:
        """Copy the newest commit to a file of its own, while writers go on; returns its bytes.

        The copy is the same store: it has its `uuid`, its tags and the versions that they keep.
        It gets its name when it is complete, synced and verified; whatever goes wrong before
        leaves nothing there. A store opened with ``version=`` copies that version; one of mode
        ``r`` copies the newest commit, also where it still shows an older one.

        Parameters
        ----------
        target : str or path object
            The copy.
        compact : bool
            Lay the data out in the order of reading, in the smallest file, without older
            versions. Takes memory for the names of all pages, as a large transaction does.
        overwrite : bool
            Replace a file at the target.
        durability : {"full", "relaxed", "none"}
            Wait until the copy is on the device, or not: a loss of power soon after may then take
            it, or damage it, and what it replaced is gone.
        progress : callable, optional
            Called with bytes done and bytes in all.

        Raises
        ------
        StoreExistsError
            The target exists, or is the store itself.
        CorruptDataError
            The store is damaged.
        TransactionError
            The caller has a transaction open, which no copy could hold.

        Examples
        --------
        >>> import kist
        >>> with kist.open(":memory:") as store:
        ...     store["a"] = [1, 2, 3]
        ...     size = store.backup("copy.kist")
        >>> with kist.open("copy.kist") as copy:
        ...     copy["a"][:]
        array([1, 2, 3])
        """
        return model.backups.backup(self, target, compact, overwrite, durability, progress)

    def check(self, progress: Progress | None = None) -> CheckReport:
        """Verify every byte that the newest commit uses; returns a report, never raises for damage.

        Examples
        --------
        >>> import kist
        >>> with kist.open(":memory:") as store:
        ...     store.check().ok
        True
        """
        from kist.model.check import check_store

        return check_store(self, progress)

    @property
    def info(self) -> Info:
        """The file's commit, its space, its pins; walks the names of all nodes."""
        return model.info.store_info(self)

    def _headline(self) -> list[str]:
        session = self._session
        notes = [f"mode {self.mode!r}"]
        if self.closed:
            return [*notes, "closed"]
        of = f" (version {session.version!r})" if session.version is not None else ""
        if self.sealed:
            notes.append("sealed")
        return [*notes, f"commit {self._view().state.shown}{of}"]
