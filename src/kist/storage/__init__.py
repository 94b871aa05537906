"""Byte-range devices under the engine, and the locks that go with them.

Bottom up:

- `locks`   the interface `Locks`, and what all kinds of it share
- `linux`, `darwin`   what of locks and syncs differs between systems
- `holders` who holds which locks, as /proc tells
- `mounts`  what each kind of mount allows: `TABLE`
- `ofd`     `FileLocks`: OFD locks on a file, and which bytes are locked
- `base`    `StorageBackend`: size, read, write, resize, sync; counters; what a fork does
- `file`    `FileBackend`: a file, by pread and pwritev
- `windows` `WindowsBackend`: the same over calls of Windows
- `names`   names given to files that are whole, and made durable; `newfile`: from part to name
- `memory`  `MemoryBackend`: bytes of this process, also shared between engines
- `transport`   one request for a range of a file far away; `objectstore` by obstore, `fsspecfile`
- `attempts`   a range is asked for again, while that may help
- `pieces`, `blockcache`   what came, in memory and in a folder
- `remote`  `RemoteBackend`: a file behind a transport, for reading

Everything that kist reads or writes in a store goes through one of these backends, so that a
test can record, drop, tear or refuse any of it (`kist.testing`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kist.lazy import lazily

if sys.platform == "win32":
    from kist.storage.windows import WindowsBackend as FileBackend
else:
    from kist.storage.file import FileBackend

if TYPE_CHECKING:
    from kist.storage.base import Stats, StorageBackend
    from kist.storage.locks import Locks
    from kist.storage.memory import MemoryBackend, MemoryFile
else:
    __getattr__ = lazily(
        __name__,
        Locks="locks",
        MemoryBackend="memory",
        MemoryFile="memory",
        Stats="base",
        StorageBackend="base",
    )

__all__ = ["FileBackend", "Locks", "MemoryBackend", "MemoryFile", "Stats", "StorageBackend"]
