"""Versions: what can still be opened, tags, retention."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kist.engine import recovery
from kist.engine.overlay import Overlay
from kist.engine.recovery import Chain
from kist.engine.view import State, View
from kist.errors import CorruptDataError, SnapshotExpiredError
from kist.format import keys, layout
from kist.format.values import KeptVersion, pack_record, unpack_record

if TYPE_CHECKING:
    from kist.engine.engine import Engine
    from kist.engine.transaction import Transaction


class CommitInfo(NamedTuple):
    """A commit that can still be opened."""

    id: int
    time_ns: int
    message: str
    tags: tuple[str, ...]
    parent: int


def versions(view: View) -> list[KeptVersion]:
    """Versions kept by tags or retention, oldest first.

    Raises
    ------
    CorruptDataError
        A record says another commit than its key, or one that is yet to come.
    """
    return [_kept(view, key, value) for key, value in view.scan(*keys.VERSIONS)]


def _version(view: View, commit: int) -> KeptVersion | None:
    key = keys.version(commit)
    value = view.get(key)
    return None if value is None else _kept(view, key, value)


def _kept(view: View, key: bytes, value: bytes) -> KeptVersion:
    found = KeptVersion.unpack(value)
    # A transaction notes what it keeps itself.
    if keys.version(found.commit) != key or found.commit > view.state.commit + 1:
        raise CorruptDataError(
            f"the record of a kept version says commit {found.commit}, which it cannot be;"
            " 'kist check' lists all damage"
        )
    return found


def _commits_of(value: bytes) -> tuple[int, int]:
    payload = unpack_record(value)[1]
    if len(payload) < 16:
        raise CorruptDataError(f"a tag of {len(payload)} bytes")
    return int.from_bytes(payload[:8], "little"), int.from_bytes(payload[8:16], "little")


def _tagged(view: View) -> dict[str, tuple[int, int]]:
    """Tag -> (commit of the kept version, commit that the user tagged)."""
    return {keys.tag_of(key): _commits_of(value) for key, value in view.scan(*keys.TAGS)}


def tags(view: View) -> dict[str, int]:
    """Tag -> commit that the user tagged."""
    return {name: shown for name, (_, shown) in _tagged(view).items()}


def state_of(engine: Engine, version: int | str) -> State:
    """State of a tag, or of a commit that is still kept.

    Raises
    ------
    SnapshotExpiredError
        It is not.
    """
    view = View(engine.reader, engine.state)
    if isinstance(version, str):
        try:
            value = view.get(keys.tag(version))
        except UnicodeEncodeError:
            value = None  # a lone surrogate is no tag
        if value is None:
            names = ", ".join(map(repr, sorted(tags(view)))) or "none"
            raise SnapshotExpiredError(
                f"{engine.path}: there is no tag {version!r}; tags are: {names}"
            )
        v = _version(view, _commits_of(value)[0])
    else:
        if version in (engine.state.commit, engine.state.shown):
            return engine.state
        v = next((v for v in versions(view) if version in (v.shown, v.commit)), None)
    if v is not None:
        return State(v.commit, v.time_ns, v.root, Overlay(), v.end, v.next_node, v.shown)
    if not isinstance(version, int) or not 0 <= version < engine.commit:
        raise SnapshotExpiredError(
            f"{engine.path}: there is no commit {version}; the newest is {engine.state.shown}"
        )
    return recovery.load(engine.backend, engine.path, version, engine.unlock).chain.state


def _message_of(engine: Engine, commit: int) -> str:
    for record in engine.chain.seen:
        if record.commit == commit:
            return record.message
    return next((c.message for c in commits(engine) if c.id == commit), "")


def commits(engine: Engine) -> list[CommitInfo]:
    """Commits that can still be opened, newest first."""
    view, state = View(engine.reader, engine.state), engine.state
    names: dict[int, list[str]] = {}
    for name, shown in tags(view).items():
        names.setdefault(shown, []).append(name)
    found = {v.shown: (v.time_ns, v.message) for v in versions(view)}
    older = min((s for s in engine.slots if s), key=lambda s: s.checkpoint)
    for record in [*recovery.walk(engine.ring.again(), older).seen, *engine.chain.seen]:
        if not record.flags & layout.FLAG_MAINTENANCE and record.commit <= state.commit:
            found[record.commit] = (record.time_ns, record.message)
    found.setdefault(state.shown, (state.time_ns, ""))
    order = sorted(found, reverse=True)
    parents = [*order[1:], 0]
    return [
        CommitInfo(commit, *found[commit], tuple(sorted(names.get(commit, ()))), parent)
        for commit, parent in zip(order, parents, strict=True)
    ]


def tag(engine: Engine, name: str, commit: int | None, *, move: bool) -> int:
    """Keep a commit until it is untagged; returns its id.

    Raises
    ------
    ValueError
        The name is empty, all digits or too long, or in use without `move`.
    SnapshotExpiredError
        The commit is no longer kept.
    """
    if not name or name.isdigit() or len(name.encode()) > 255 or "\0" in name:
        raise ValueError(f"{name!r} cannot be a tag: 1 to 255 bytes, and not all digits")
    engine.refresh()
    newest = commit is None or commit in (engine.state.shown, engine.commit)
    if newest and engine.state.overlay:
        engine.checkpoint()  # so that the commit has a tree of its own
    txn = engine.begin()
    try:
        if txn.get(keys.tag(name)) is not None and not move:
            raise ValueError(f"the tag {name!r} is in use; move=True moves it")
        kept = _keep(engine, txn, engine.state.shown if commit is None else commit)
        _drop(txn, name)
        payload = kept.commit.to_bytes(8, "little") + kept.shown.to_bytes(8, "little")
        txn.put(keys.tag(name), pack_record(payload))
        txn.put(keys.version(kept.commit), kept.pack())
        txn.commit(f"tag {name}")
    except BaseException:
        txn.rollback()
        raise
    return kept.shown


def _keep(engine: Engine, txn: Transaction, commit: int) -> KeptVersion:
    for version in versions(txn):
        if commit in (version.shown, version.commit):
            return version
    state = state_of(engine, commit)
    root = state.root
    if state.overlay:
        from kist.engine.rootcommit import write_side_tree

        root, lives = write_side_tree(
            engine.reader, state, txn.allocate, txn.write_run, engine.uuid
        )
        txn.add_lives(lives)
    return KeptVersion(
        state.commit,
        commit,
        state.time_ns,
        state.end,
        state.next_node,
        root,
        False,
        _message_of(engine, commit),
    )


def untag(engine: Engine, name: str) -> None:
    """Let a tagged commit go; KeyError when there is no such tag."""
    txn = engine.begin()
    try:
        if txn.get(keys.tag(name)) is None:
            raise KeyError(name)
        _drop(txn, name)
        txn.commit(f"untag {name}")
    except BaseException:
        txn.rollback()
        raise


def _drop(txn: Transaction, name: str) -> None:
    """Delete a tag, and the version with its last tag unless retention keeps it."""
    tagged = _tagged(txn)
    if name not in tagged:
        return
    commit = tagged.pop(name)[0]
    txn.delete(keys.tag(name))
    value = txn.get(keys.version(commit))
    shared = any(c == commit for c, _ in tagged.values())
    if value is not None and not shared and not KeptVersion.unpack(value).retained:
        txn.delete(keys.version(commit))


def retain(engine: Engine, txn: Transaction) -> None:
    """Keep the commit before this transaction, and let the oldest retained ones go."""
    state = engine.state
    if state.commit and state.root and not state.overlay:
        present = txn.get(keys.version(state.commit))
        if present is None:
            kept = KeptVersion(
                state.commit,
                state.shown,
                state.time_ns,
                state.end,
                state.next_node,
                state.root,
                True,
                _message_of(engine, state.shown),
            )
            txn.put(keys.version(state.commit), kept.pack())
        else:
            txn.put(
                keys.version(state.commit),
                KeptVersion.unpack(present)._replace(retained=True).pack(),
            )
    tagged = {commit for commit, _ in _tagged(txn).values()}
    retained = [v for v in versions(txn) if v.retained]
    for old in retained[: max(0, len(retained) - engine.retain)]:
        if old.commit in tagged:
            txn.put(keys.version(old.commit), old._replace(retained=False).pack())
        else:
            txn.delete(keys.version(old.commit))


def newer(chain: Chain, commit: int) -> int:
    """How many commits of users a chain has after `commit`."""
    if commit >= chain.state.shown:
        return 0
    seen = [r for r in chain.seen if r.commit > commit]
    if not seen or seen[0].commit > commit + 1:
        return chain.state.shown - commit  # at most: checkpoints count here
    return sum(not r.flags & layout.FLAG_MAINTENANCE for r in seen)


def is_kept(engine: Engine, commit: int) -> bool:
    """Whether the file keeps a commit for a tag or by retention."""
    fresh = recovery.load(engine.backend, engine.path, unlock=engine.unlock).chain.state
    return _version(View(engine.reader, fresh), commit) is not None
