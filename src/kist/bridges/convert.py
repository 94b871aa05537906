"""``kist.convert``: from any format into a store, or from a store into any format.

What is made appears whole or not at all: a store takes it in one transaction, and a new file is
written under another name beside its place.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import kist
from kist.bridges.base import Bridge, Job
from kist.bridges.beside import beside
from kist.bridges.places import split_place
from kist.bridges.report import Report
from kist.bridges.resume import NOTE, AtOnce, InSteps
from kist.bridges.sources import (
    bridge_for,
    found_at,
    identity_of,
    is_store,
    named,
    refuse_together,
    refuse_twice,
    shares,
)
from kist.errors import (
    ConversionError,
    NodeNotFoundError,
    ReadOnlyError,
    SecretError,
    StoreNotFoundError,
)

__all__ = ["beside", "convert"]

Progress = Callable[[int, int], None]

_MANY: Final = 256
"""So many nodes are looked at to know how much there is."""


class _Held:
    """Secrets on their way, which local variables of frames do not show."""

    __slots__ = ("given",)

    def __init__(self, given: Any) -> None:
        self.given = given


def convert(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    target: str | os.PathLike[str],
    *,
    format: str | None = None,
    strict: bool = False,
    overwrite: bool = False,
    codec: str = "auto",
    version: int | str | None = None,
    secrets: Any = None,
    decrypt: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Bring a file of another format into a store, or a store or node of it into another format.

    Parameters
    ----------
    source, target : str or path object
        One of them is a store; ``"lab.kist:raw/images"`` names a node in it. ``"-"`` is standard
        input or output, for formats that can be read or written from start to end. Several files
        may come into a store at once: each becomes a node that is called as the file is, without
        its ending.
    format : str, optional
        Of the other side: ``"hdf5"``, ``"npy"``, ``"npz"``, ``"folder"``, ``"parquet"``,
        ``"arrow"``, ``"csv"``, ``"jsonl"``, ``"sqlite"``, ``"netcdf"``, ``"zarr"``, ... By
        default by its first bytes, else by the end of its name.
    strict : bool
        Raise at the first thing that would be changed or left behind.
    overwrite : bool
        Replace the datasets, or the file, of these names.
    codec : str
        Of the datasets in the store, as for `Group.create_array`.
    version : int or str, optional
        Commit or tag of the store that is read.
    secrets : secret, list or dict, optional
        Of the store that is read, and of the one that is written into, as for `kist.open`. A dict
        names what stands in the store that is read, if there is one.
    decrypt : bool
        Let sealed columns go into a format that keeps them in clear.
    resume : bool
        Commit what comes into a store every 256 MiB, and go on where an earlier call was ended,
        by a kill too. Until the last step the root has an attribute ``UNFINISHED``.
    progress : callable, optional
        Is told bytes done and bytes in all; the same twice where nobody knows how much there is.
    **options
        Of one format: docs/bridges.md lists them.

    Returns
    -------
    Report
        What came over, and what was changed or could not be kept; true when nothing was.

    Raises
    ------
    ReadOnlyError
        The target is an address.
    ConversionError
        Neither side is a store, the format is unknown, `strict` refuses a loss, or `resume`
        finds that the source or the options are others than those it began with.
    CorruptDataError
        The source is damaged, or was changed while it was read.
    StoreExistsError, NodeExistsError
        Something stands at the target.
    SecretError
        Sealed columns would come to stand in clear, or no secret was given for them.
    ImportError
        A library is missing; names the extra that brings it.

    Notes
    -----
    Parts of 16 MiB are read while those before them are written, whatever the size. On any error
    the target is as it was: a store takes all in one transaction, a new file gets its name when
    it is complete. With `resume`, the steps that were committed stay.

    Examples
    --------
    >>> import kist, numpy as np, os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> npy, store = os.path.join(folder, "x.npy"), os.path.join(folder, "lab.kist")
    >>> np.save(npy, np.arange(3))
    >>> report = kist.convert(npy, store + ":raw/x")
    >>> with kist.open(store) as lab:
    ...     report.ok, lab["raw/x"][:]
    (True, array([0, 1, 2]))
    """
    held, secrets = _Held(secrets), None  # a traceback would show it
    target = os.fspath(target)
    sources = [source] if isinstance(source, str | os.PathLike) else source
    several = [os.fspath(one) for one in sources]
    if not several:
        raise ConversionError(f"{target}: there is no source")
    source = several[0] if len(several) == 1 else named(several)
    from_file, from_node = split_place(source)
    to_file, to_node = split_place(target)
    if "://" in to_file:
        raise ReadOnlyError(
            f"{to_file}: what is reached by an address is only read; write a local file, and copy "
            "it there"
        )
    common: dict[str, Any] = {
        "strict": strict,
        "overwrite": overwrite,
        "codec": codec,
        "progress": progress,
    }
    if len(several) > 1:
        refuse_together(several, resume)
    elif is_store(from_file):
        if resume:
            raise ConversionError(
                f"{target}: resume goes on with a store that is being filled; this way out makes "
                "a new file, whole or not at all"
            )
        report = Report(source, target, "kist")
        with kist.open(from_file, version=version, secrets=held.given) as store:
            node = _node(store, from_node)
            if is_store(to_file, new=format is None):
                _refuse_options(codec, options)
                both = _Held(None) if isinstance(held.given, Mapping) else held
                _copy(node, to_file, to_node, report, overwrite, both, progress)
                return report
            report.format, bridge = bridge_for(to_file, format, existing=False)
            _refuse_pipe(to_file, bridge, "written to")
            if not isinstance(node, kist.Group | kist.Table | kist.Array | kist.KeyStore):
                raise ConversionError(
                    f"{from_node!r} shows what stands elsewhere: convert that, or merge it, or "
                    "store what is read of it"
                )
            if not bridge.is_tree and not from_node.strip("/"):
                node = _only_dataset(node)
            _check_sealed(node, None if decrypt else report.format)
            job = Job(bridge, report, store, node.name, options=options, **common)
            job.total = _bytes_in(node)
            _export(job, node, to_file, overwrite)
        return report
    if not is_store(to_file, new=True):
        if from_file.endswith(".kist") and not os.path.exists(from_file):
            raise StoreNotFoundError(f"{from_file}: there is no such store")
        raise ConversionError(
            f"{source} -> {target}: one side is a store; give it the extension .kist"
        )
    if version is not None:
        raise ConversionError(f"{source}: only stores have versions")
    found = [found_at(one, target, to_node, format, alone=len(several) == 1) for one in several]
    refuse_twice(found)
    _refuse_pipe(from_file, found[0].bridge, "read from")
    formats = sorted({one.name for one in found})
    report = Report(source, target, formats[0] if len(formats) == 1 else "several formats")
    with contextlib.ExitStack() as stack:
        if resume:
            (one,) = found
            _refuse_to_resume(one.bridge, one.file)
            target_store = stack.enter_context(_store_in_steps(to_file, held))
            _refuse_notes_in_clear(target_store, one.base)
            facts = _facts(one.file, one.identity, one.name, {"codec": codec, **options})
            steps: AtOnce = InSteps(target_store, report, one.base, facts, restart=overwrite)
        else:
            target_store = stack.enter_context(_store_for(to_file, held))
            steps = AtOnce(target_store, f"convert {source}")
        stack.enter_context(steps.running())
        tellers = [progress] if len(found) == 1 else shares(progress, found)
        for (bridge, base, file, _, before), common["progress"] in zip(found, tellers, strict=True):
            job = Job(bridge, report, target_store, base, options=options, steps=steps, **common)
            job.total = before[1]
            bridge.read(job, file)
            job.check_options()
            if identity_of(file) != before:
                left = "what came over before stays unfinished" if resume else "nothing was changed"
                raise ConversionError(f"{file}: was changed while it was read; {left}")
    return report


def _node(store: Any, path: str) -> Any:
    node = store[path] if path.strip("/") else store
    if node is None:
        raise NodeNotFoundError(f"no node {path!r}")
    return node


def _only_dataset(store: Any) -> Any:
    """Return the dataset of a store that holds just one, else the store."""
    children = list(itertools.islice(store.values(), 2))
    single = len(children) == 1 and children[0].kind in ("table", "array", "key store")
    return children[0] if single else store


def _check_sealed(node: Any, in_clear: str | None) -> None:
    """Raise where sealed columns would come to stand in clear in the format that is named.

    With None they may; and one whose secret was not given is refused before anything is written:
    out of a stream of Arrow its error would come as one of pyarrow's.
    """
    store = getattr(node, "store", None)
    if in_clear is not None and store is not None and store.sealed:
        raise SecretError(
            f"{store.path!r} is sealed as a whole, and {in_clear} would hold its values in"
            " clear: decrypt=True (--decrypt) allows that"
        )
    _check_sealed_nodes(node, in_clear)


def _check_sealed_nodes(node: Any, in_clear: str | None) -> None:
    if node.kind in ("store", "group"):
        if node.kind == "group" and node.sealed:
            if in_clear is not None:
                raise SecretError(
                    f"the group {node.name!r} is sealed, and {in_clear} would hold what is in it "
                    "in clear: decrypt=True (--decrypt) allows that"
                )
            len(node.attrs)  # whether its secret was given
        for child in node.values():
            _check_sealed_nodes(child, in_clear)
    elif node.kind == "table" and node.sealed:
        if in_clear is None:
            node[list(node.sealed)][:1]
            return
        names = ", ".join(map(repr, node.sealed))
        raise SecretError(
            f"{node.name!r} has sealed columns ({names}), and {in_clear} would hold their values "
            "in clear: decrypt=True (--decrypt) allows that; or convert a selection of the others"
        )
    elif node.kind in ("array", "key store") and node.sealed:
        if in_clear is None:
            _open_once(node)
            return
        raise SecretError(
            f"the {node.kind} {node.name!r} is sealed, and {in_clear} would hold its values in "
            "clear: decrypt=True (--decrypt) allows that"
        )


def _open_once(node: Any) -> None:
    """Read next to nothing of a sealed dataset: what matters is whether its secret was given."""
    if node.kind == "array":
        node[(slice(0, 0),) * node.ndim]
    else:
        next(iter(node), None)


def _refuse_options(codec: str, options: Mapping[str, Any]) -> None:
    """Raise for what means nothing where a store is copied into another."""
    if options:
        raise TypeError(f"convert: there is no option {min(options)} between two stores")
    if codec != "auto":
        raise ConversionError(
            f"codec={codec!r}: nodes are copied between stores as they are; 'kist repack --codec' "
            "encodes a store anew"
        )


def _refuse_pipe(file: str, bridge: Bridge, how: str) -> None:
    """Raise for formats that need a file, and not a pipe."""
    if file == "-" and not bridge.through_pipes:
        raise ConversionError(f"-: {bridge.name} is not {how} a pipe; name a file (csv, jsonl are)")


def _refuse_to_resume(bridge: Bridge, source: str) -> None:
    """Raise for sources that are read at once or not at all."""
    if source == "-":
        raise ConversionError("-: a pipe cannot be read again; put it into a file to resume")
    if not bridge.in_steps:
        raise ConversionError(f"{source}: {bridge.name} is read at once; resume has no use there")


def _refuse_notes_in_clear(store: Any, base: str) -> None:
    """Raise where notes of a conversion in steps would tell of what is sealed."""
    at = store
    for name in filter(None, base.split("/")):
        if not isinstance(at, kist.Group) or name not in at:
            return
        at = at[name]
        if isinstance(at, kist.Group) and at.sealed:
            raise SecretError(
                f"the group {at.name!r} is sealed, and resume keeps notes of what came over in the "
                "root of the store, in clear: convert without it, or into a store that is sealed "
                "as a whole"
            )


def _facts(
    source: str, identity: tuple[int, int], format: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what must be the same in each run of a conversion in steps."""
    return {
        "source": os.path.abspath(source),
        "format": format,
        "time of change (ns)": identity[0],
        "size": identity[1],
        "options": repr(sorted(options.items())),
        "version of kist": kist.__version__,  # which may cut otherwise
    }


@contextlib.contextmanager
def _store_in_steps(file: str, held: _Held) -> Iterator[Any]:
    """Open a store for writing under its own name; a new one goes unless a step is in it."""
    is_new, is_begun = not os.path.exists(file), True
    try:
        # Mode "a" also makes one whose creation was cut off when an earlier run was killed.
        with kist.open(file, "a", secrets=held.given) as store:
            is_begun = False
            try:
                yield store
                is_begun = True
            finally:
                is_begun = is_begun or NOTE in store.attrs
    except BaseException:
        if is_new and not is_begun:
            os.unlink(file)
        raise


@contextlib.contextmanager
def _store_for(file: str, held: _Held) -> Iterator[Any]:
    """Open a store for writing; a new one gets its name when all is in it."""
    if os.path.exists(file):
        with kist.open(file, "r+", secrets=held.given) as store:
            yield store
        return
    with (
        beside(file, overwrite=False) as part,
        kist.open(part, "x", secrets=held.given) as store,
    ):
        yield store


def _export(job: Job, node: Any, target: str, overwrite: bool) -> None:
    if target == "-":
        job.bridge.write(job, node, "-")
        job.check_options()
        return
    with beside(target, overwrite=overwrite) as part:
        job.bridge.write(job, node, part)
        job.check_options()


def _bytes_in(node: Any) -> int:
    """Return the bytes of all values, 0 where that takes a look at very many datasets."""
    found, waiting = 0, [node]
    for _ in range(_MANY):
        if not waiting:
            return found
        one = waiting.pop()
        if one.kind in ("store", "group"):
            waiting += itertools.islice(one.values(), _MANY)
        elif one.kind in ("array", "table"):
            found += one.nbytes
    return 0


class _Copied:
    """Progress over nodes that are copied one by one, each of which tells its own."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._before = self._last = 0

    def __call__(self, done: int, total: int) -> None:
        self._last = total
        done += self._before
        self._progress(done, max(self._total, self._before + total))

    def next(self) -> None:
        self._before += self._last
        self._last = 0


def _copy(
    node: Any,
    file: str,
    path: str,
    report: Report,
    overwrite: bool,
    held: _Held,
    progress: Progress | None,
) -> None:
    """Copy a node into another store, without decoding it."""
    told = None
    if progress is not None:
        # How much is in all nodes, a look at each of them would say; the file has no less.
        whole = node.name == "/" and os.path.exists(node.store.path)
        told = _Copied(progress, os.path.getsize(node.store.path) if whole else 0)
    with _store_for(file, held) as store, store.transaction(f"convert {report.source}"):
        if path.strip("/"):
            if overwrite and path in store:
                del store[path]
            store.copy(node, path, progress=told)
        elif node.name == "/":
            store.attrs.update(node.attrs)
            for name, child in node.items():
                if overwrite and name in store:
                    del store[name]
                store.copy(child, name, progress=told)
                if told is not None:
                    told.next()
        else:
            store.copy(node, node.name, progress=told)
        _count(node, report)


def _count(node: Any, report: Report) -> None:
    if node.kind in ("store", "group"):
        report.n_groups += 1
        for child in node.values():
            _count(child, report)
        return
    if node.kind == "link":
        return
    report.n_tables += node.kind == "table"
    report.n_arrays += node.kind == "array"
    if node.kind == "key store":
        report.count_keystore(node)
    report.n_rows += len(node) if node.kind == "table" else 0
    report.nbytes += node.nbytes
