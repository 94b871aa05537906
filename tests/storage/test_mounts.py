"""Which mounts kist writes on: a table, asked with the mountinfo of every kind."""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.format.layout import DATA_OFFSET
from kist.storage import FileBackend, mounts, ofd
from kist.storage.mounts import TABLE, Mount, mount_of, parse_mounts, rule_of
from kist.testing.programs import World, take_step

# As kernels write them: (row of the table, line).
LINES = {
    "ext4": ("local", "28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw"),
    "tmpfs": ("local", "30 28 0:25 / / rw,nosuid - tmpfs tmpfs rw,size=1g"),
    "container": ("local", "700 600 0:50 / / rw - overlay overlay rw,lowerdir=/a:/b,upperdir=/c"),
    "bind": ("local", "701 700 8:1 /disk / rw,relatime master:1 - xfs /dev/sda1 rw,attr2"),
    "nfs3": (
        "NFSv3",
        "40 28 0:42 / / rw - nfs s:/x rw,vers=3,hard,mountvers=3,local_lock=none",
    ),
    "nfs3 flock": ("NFSv3", "40 28 0:42 / / rw - nfs s:/x rw,vers=3,local_lock=flock"),
    "nfs3 nolock": ("NFS, locks kept", "40 28 0:42 / / rw - nfs s:/x rw,vers=3,nolock"),
    "nfs3 posix": ("NFS, locks kept", "40 28 0:42 / / rw - nfs s:/x rw,vers=3,local_lock=posix"),
    "nfs4": ("NFSv4", "41 28 0:43 / / rw - nfs4 s:/x rw,vers=4.2,hard,local_lock=none"),
    "lustre": ("Lustre with `flock`", "42 28 0:44 / / rw - lustre mgs@tcp:/fs rw,flock,lazystatfs"),
    "lustre local": ("Lustre with `localflock`", "42 28 0:44 / / rw - lustre m:/fs rw,localflock"),
    "lustre none": ("Lustre with `localflock`", "42 28 0:44 / / rw - lustre m:/fs rw,noflock"),
    "lustre unsaid": ("Lustre with `localflock`", "42 28 0:44 / / rw - lustre m:/fs rw"),
    "gpfs": ("GPFS", "43 28 0:45 / / rw,relatime - gpfs /dev/gpfs0 rw"),
    "smb": ("SMB", "44 28 0:46 / / rw - cifs //s/x rw,vers=3.1.1,cache=strict,serverino"),
    "smb nobrl": ("SMB with `nobrl`", "44 28 0:46 / / rw - smb3 //s/x rw,vers=3.1.1,nobrl"),
    "sshfs": ("any other FUSE", "45 28 0:47 / / rw - fuse.sshfs me@host:/ rw,user_id=0"),
    "ceph-fuse": ("GPFS", "45 28 0:47 / / rw - fuse.ceph-fuse ceph-fuse rw,user_id=0"),
    "ntfs-3g": ("FUSE over a local disk", "45 28 8:2 / / rw - fuseblk /dev/sdb1 rw,user_id=0"),
    "virtiofs": ("a folder that a virtual machine", "46 28 0:48 / / rw - virtiofs myfs rw"),
    "9p": ("a folder that a virtual machine", "46 28 0:48 / / rw - 9p share rw,trans=virtio"),
    "new disk": ("another type, on a device", "47 28 8:17 / / rw - newfs /dev/sdb1 rw"),
    "new": ("another type, or no", "47 28 0:49 / / rw - newfs something rw"),
    "no options": ("local", "28 1 254:0 / / rw - ext4 /dev/vda1"),
    "no /proc": ("another type, or no", ""),
}


def rule(kind: str) -> mounts.Rule:
    name = LINES[kind][0]
    return next(r for r in TABLE if r.kind == name or (r.kind.startswith(name) and name != "SMB"))


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let all files lie on a mount of some kind."""
    return lambda kind: monkeypatch.setattr(mounts, "read_mountinfo", lambda: LINES[kind][1])


@pytest.mark.parametrize("kind", LINES)
def test_every_kind_of_mount_has_its_row(kind: str) -> None:
    assert rule_of(mount_of("/data/x.kist", parse_mounts(LINES[kind][1]))) is rule(kind)


def test_every_row_is_met() -> None:
    met = {rule(kind).kind for kind in LINES}
    unmet = [row.kind for row in TABLE if row.kind not in met]
    assert unmet == ["GFS2 with `localflocks`", "GFS2"]
    for options, row in (("rw,localflocks", TABLE[6]), ("rw", TABLE[7])):
        mount = Mount("/", "gfs2", "x", frozenset(options.split(",")))
        assert rule_of(mount) is row


def test_the_innermost_and_latest_mount_counts() -> None:
    text = "\n".join(
        [
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
            "2 1 0:1 / /net rw - autofs auto rw",
            "3 2 0:2 / /net rw shared:3 master:1 - nfs4 s:/x rw",
            "4 3 8:2 / /net/with\\040blank rw - xfs /dev/sdb1 rw",
            "not a line of this kind",
            "",
        ]
    )
    found = parse_mounts(text)
    assert len(found) == 4
    for path, kind in {
        "/net/x": "nfs4",
        "/net": "nfs4",
        "/network/x": "ext4",
        "/net/with blank/x": "xfs",
        "/x": "ext4",
    }.items():
        mount = mount_of(path, found)
        assert mount is not None and mount.type == kind, path
    assert mount_of("/x", found[1:]) is None


def test_this_machine_has_mounts_that_can_be_read(tmp_path: Path) -> None:
    assert mount_of(str(tmp_path), parse_mounts(mounts.read_mountinfo())) is not None


def test_the_page_says_what_the_table_says() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "durability.md"
    section = page.read_text().split("## Mounts")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    assert rows[0] == ("mount", "read", "one writer", "many writers")
    assert rows[1:] == [(row.kind, "yes", row.one, row.many) for row in TABLE]


@pytest.mark.parametrize("kind", LINES)
def test_a_store_can_be_read_anywhere_and_written_where_the_table_says(
    path: Path, on: Callable[[str], None], kind: str
) -> None:
    with kist.open(path, "x", durability="none") as store:
        store["x"] = [1, 2, 3]
    on(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with kist.open(path) as store:
            assert store["x"][:].tolist() == [1, 2, 3]
    row = rule(kind)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if row.refuses:
            for mode in ("r+", "a", "w"):
                with pytest.raises(kist.StorageError, match="local disk"):
                    kist.open(path, mode)
            with pytest.raises(kist.StorageError, match="Reading works"):
                kist.open(path.with_name("new"), "x")
            assert not path.with_name("new").exists()
            return
        with kist.open(path, "r+") as store, kist.open(path, "r+", timeout=0.01) as other:
            store["x"].append([4])
            if row.network:
                with pytest.raises(kist.StoreLockedError, match="network mount"):
                    other["x"].append([5])
                with pytest.raises(kist.StorageError, match=r"backup\(compact=True\)"):
                    store.compact()
            else:
                other["x"].append([5])
            assert store.check().ok
    found = [w for w in caught if w.category is kist.MountWarning]
    assert len(found) == 2 * row.network
    assert all(w.filename == __file__ for w in found)


def test_on_a_network_mount_nothing_is_written_twice_nor_cut(
    path: Path, on: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with kist.open(path, "x", durability="none") as store:
        world = World(3)
        for _ in range(25):  # leaves free and waiting space
            take_step(store, world)
            world = world.next()
        store["big"] = np.random.default_rng(0).integers(0, 2**60, 30_000)
        del store["big"]
        for _ in range(3):
            store._session.engine.checkpoint()
        assert store.info["free_bytes"] > 200_000
    on("nfs4")
    reader = kist.open(path)
    used = reader._session.engine.state.end
    before, ends = path.read_bytes(), [path.stat().st_size]
    write = FileBackend.write
    fresh: list[tuple[int, int]] = []

    def watched(self: FileBackend, offset: int, buffers: Any) -> None:
        n = sum(memoryview(b).nbytes for b in buffers)
        if offset >= DATA_OFFSET:
            assert all(offset >= stop or offset + n <= start for start, stop in fresh)
            if offset + n <= used:  # taking over writes what was not synced again, as it is
                assert self.read(offset, n) == b"".join(map(bytes, buffers))
            else:
                fresh.append((offset, offset + n))
        write(self, offset, buffers)

    monkeypatch.setattr(FileBackend, "write", watched)
    monkeypatch.setattr(FileBackend, "resize", lambda self, n: pytest.fail("cut"))
    old = world
    with pytest.warns(kist.MountWarning):
        store = kist.open(path, "r+", durability="none")
    with store:
        for _ in range(40):
            take_step(store, world)
            world = world.next()
            ends.append(store._session.engine.state.end)
        assert world.differences(store) == []
        assert old.differences(reader) == []
        assert store.check().ok
    reader.close()
    assert fresh and min(start for start, _ in fresh) >= used
    stop = min(used, len(before))  # the file may end before the space that is taken
    assert path.read_bytes()[DATA_OFFSET:stop] == before[DATA_OFFSET:stop]
    assert ends == sorted(ends)
    monkeypatch.undo()
    with kist.open(path, "r+") as store:  # back on a local disk, the space comes back
        waiting = store.info["waiting_bytes"]
        store.compact()
        assert store.info["waiting_bytes"] < waiting
        assert world.differences(store) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_locks_fail_reading_works_and_writing_says_so(
    path: Path, on: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with kist.open(path, "x") as store:
        store["x"] = np.arange(5)

    def refuse(*arguments: object) -> bytes:
        raise OSError(number, "no")

    monkeypatch.setattr(ofd.fcntl, "fcntl", refuse)
    for kind in ("nfs4", "lustre none"):
        on(kind)
        with kist.open(path) as store:
            assert store["x"][:].tolist() == [0, 1, 2, 3, 4]
    on("nfs4")
    with (
        pytest.warns(kist.MountWarning),
        kist.open(path, "r+") as store,
        pytest.warns(kist.KistWarning, match="others wait"),
        pytest.raises(kist.StorageError, match="locks do not work on this mount"),
    ):
        store["x"].append([1])
    on("ext4")  # here a pin that cannot be taken would be one that is missed
    with pytest.raises(kist.StorageError, match="lock"):
        kist.open(path)
