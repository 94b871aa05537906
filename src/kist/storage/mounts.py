"""What each kind of mount allows: reading, one writer, many.

`TABLE` is the one place where this stands: opening a store for writing goes by it, and a test
compares it with the table in docs/durability.md.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, NamedTuple

from kist.errors import MountWarning, StorageError

__all__ = [
    "TABLE",
    "Mount",
    "Rule",
    "allow_writing",
    "mount_of",
    "overwrites",
    "parse_mounts",
    "rule_of",
]

YES: Final = "yes"
SOLE: Final = "append-only, with a warning"
LOCKED: Final = "`StoreLockedError`"
RAISES: Final = "raises"


class Mount(NamedTuple):
    """One line of ``/proc/self/mountinfo``.

    Attributes
    ----------
    point : str
        Where it is mounted.
    type : str
        Kind of file system.
    source : str
        What is mounted.
    options : frozenset of str
        Of the mount and of the file system.
    """

    point: str
    type: str
    source: str
    options: frozenset[str]


class Rule(NamedTuple):
    """A row of the table.

    Attributes
    ----------
    kind : str
        For people.
    types : tuple of str
        Patterns of types of file systems.
    one, many : str
        What one writer, and what several may do. Reading works everywhere.
    why : str
        What the message says.
    remedy : str
        What can be done, where writing is refused.
    options : tuple of str
        Patterns, of which one of the options must match for this row to hold; none: always.
    """

    kind: str
    types: tuple[str, ...]
    one: str
    many: str
    why: str
    remedy: str = ""
    options: tuple[str, ...] = ()

    @property
    def refuses(self) -> bool:
        """Whether writing raises."""
        return self.one == RAISES

    @property
    def network(self) -> bool:
        """Whether nothing may be overwritten there, and one open store at a time writes."""
        return self.one == SOLE


_LOCAL_DISK = "or keep the store on a local disk and copy backups there (kist backup)"

# fmt: off
_LOCAL: Final = (
    "ext[234]", "xfs", "btrfs", "zfs", "bcachefs", "f2fs", "jfs", "reiserfs", "nilfs2", "tmpfs",
    "ramfs", "devtmpfs", "overlay", "overlayfs", "aufs", "rootfs", "hfs*", "apfs", "ufs", "vfat",
    "exfat", "ntfs*", "squashfs", "erofs", "iso9660", "udf", "ecryptfs",
)
_FUSE_LOCAL: Final = (
    "fuseblk", "fuse.ntfs*", "fuse.bindfs", "fuse.gocryptfs", "fuse.mergerfs",
    "fuse.fuse-overlayfs", "fuse.encfs", "fuse.lxcfs",
)
# fmt: on

# The first row that fits holds.
TABLE: Final = (
    Rule(
        "NFS, locks kept on this machine",
        ("nfs", "nfs4"),
        RAISES,
        RAISES,
        "it is NFS mounted so that locks do not leave this machine",
        f"mount it without nolock and local_lock, {_LOCAL_DISK}",
        ("nolock", "local_lock=all", "local_lock=posix"),
    ),
    Rule("NFSv4", ("nfs4",), SOLE, LOCKED, "it is NFS"),
    Rule("NFSv3", ("nfs",), SOLE, LOCKED, "it is NFS"),
    Rule("Lustre with `flock`", ("lustre",), SOLE, LOCKED, "it is Lustre", options=("flock",)),
    Rule(
        "Lustre with `localflock` or `noflock`",
        ("lustre",),
        RAISES,
        RAISES,
        "it is Lustre mounted so that locks do not leave this machine, or do not work",
        f"mount it with the option flock, {_LOCAL_DISK}",
    ),
    Rule(
        "GPFS, CephFS, GlusterFS, OCFS2",
        ("gpfs", "ceph", "fuse.ceph*", "fuse.glusterfs", "ocfs2"),
        SOLE,
        LOCKED,
        "it is a file system of several machines",
    ),
    Rule(
        "GFS2 with `localflocks`",
        ("gfs2",),
        RAISES,
        RAISES,
        "it is GFS2 mounted so that locks do not leave this machine",
        f"mount it without localflocks, {_LOCAL_DISK}",
        ("localflocks",),
    ),
    Rule("GFS2", ("gfs2",), SOLE, LOCKED, "it is a file system of several machines"),
    Rule(
        "SMB with `nobrl`, `nolock` or `nostrictsync`",
        ("cifs", "smb3", "smbfs"),
        RAISES,
        RAISES,
        "it is SMB mounted so that locks do not leave this machine, or syncs do nothing",
        f"mount it without nobrl, nolock and nostrictsync, {_LOCAL_DISK}",
        ("nobrl", "nolock", "nostrictsync"),
    ),
    Rule("SMB", ("cifs", "smb3", "smbfs"), SOLE, LOCKED, "it is SMB"),
    Rule(
        "a folder that a virtual machine shares with its host (9p, virtiofs, ...)",
        ("9p", "virtiofs", "vboxsf", "prl_fs", "fakeowner", "fuse.vmhgfs-fuse", "fuse.grpcfuse"),
        SOLE,
        LOCKED,
        "it is shared with another system, which does not see the locks of this one",
    ),
    Rule(
        "FUSE over a local disk",
        _FUSE_LOCAL,
        YES,
        YES,
        "",
    ),
    Rule(
        "any other FUSE (sshfs, s3fs, rclone, ...), AFS, Coda, BeeGFS, PanFS and the like",
        ("fuse", "fuse.*", "afs", "coda", "beegfs", "panfs", "pvfs2", "ncpfs", "davfs", "wekafs"),
        RAISES,
        RAISES,
        "locks there may silently stay on this machine",
        "keep the store on a local disk and copy backups there (kist backup)",
    ),
    Rule(
        "local file systems; what a container mounts of them (bind, volume, overlay)",
        _LOCAL,
        YES,
        YES,
        "",
    ),
    Rule("another type, on a device of this machine (`/dev/...`)", (), YES, YES, ""),
    Rule(
        "another type, or no `/proc` to tell",
        ("*",),
        SOLE,
        LOCKED,
        "kist does not know this kind of mount",
    ),
)
_ON_DEVICE: Final = next(rule for rule in TABLE if not rule.types)
UNKNOWN: Final = TABLE[-1]


@lru_cache(maxsize=2)  # each file that is opened to write asks, and seldom has anything changed
def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Return the mounts that a ``mountinfo`` lists, in its order.

    Examples
    --------
    >>> line = "36 35 0:42 / /lab/my\\\\040data rw,noatime shared:1 - nfs4 host:/x rw,vers=4.2"
    >>> mount = parse_mounts(line)[0]
    >>> mount.point, mount.type, sorted(mount.options)
    ('/lab/my data', 'nfs4', ['noatime', 'rw', 'vers=4.2'])
    """
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        words, more = before.split(" "), after.split(" ")
        if not dash or len(words) < 6 or len(more) < 2:
            continue  # not a line of this format
        options = [*words[5].split(","), *(more[2].split(",") if len(more) > 2 else ())]
        found.append(Mount(_plain(words[4]), more[0], _plain(more[1]), frozenset(options)))
    return tuple(found)


def _plain(text: str) -> str:
    # Blanks, tabs, newlines and backslashes are written as octal numbers.
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mount_of(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """Return the mount that an absolute path without links lies on.

    Of several at one point the last hides the others.
    """
    best = None
    for mount in mounts:
        point = mount.point.rstrip("/")
        on_it = path == point or path.startswith(f"{point}/")
        if on_it and (best is None or len(point) >= len(best.point.rstrip("/"))):
            best = mount
    return best


def rule_of(mount: Mount | None) -> Rule:
    """Return the row of the table that holds for a mount."""
    if mount is None:
        return UNKNOWN
    for rule in TABLE:
        types = any(fnmatchcase(mount.type, pattern) for pattern in rule.types)
        options = any(fnmatchcase(o, p) for o in mount.options for p in rule.options)
        if rule is _ON_DEVICE:
            types = mount.source.startswith("/dev/")
        if types and (options or not rule.options):
            return rule
    raise AssertionError("the last row holds for all")


def read_mountinfo() -> str:
    """Return the mountinfo of this process; tests put another one in its place."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""  # the last row of the table says what that means


def overwrites(path: str) -> bool:
    """Tell whether a writer may use space again where a file lies."""
    return rule_of(mount_of(os.path.realpath(path), parse_mounts(read_mountinfo()))).one == YES


def allow_writing(path: str) -> Rule:
    """Return the rule for a file that is to be written, with the warning that belongs to it.

    Raises
    ------
    StorageError
        It cannot be written safely there; the message names the remedy.
    """
    mount = mount_of(os.path.realpath(path), parse_mounts(read_mountinfo()))
    rule = rule_of(mount)
    where = f"{path!r} lies on {mount.point!r} ({mount.type})" if mount else repr(path)
    if rule.refuses:
        raise StorageError(
            f"{where}: {rule.why}, so that two writers could destroy the store. Reading works. To "
            f"write, {rule.remedy}"
        )
    if rule.network:
        from kist._kernels.callers import user_level

        warnings.warn(
            f"{where}: {rule.why}. One store at a time writes there, until it is closed; the file "
            "only grows, so that readers elsewhere keep what they see; see docs/durability.md, "
            "'Mounts'",
            MountWarning,
            stacklevel=user_level(),
        )
    return rule
