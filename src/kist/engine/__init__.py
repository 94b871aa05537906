"""One ordered map of small records and extents beside it: commits, snapshots, recovery.

Low to high:

- `overlay`: changes since the root. `tree`: the copy-on-write tree; `drafts`: the next one.
- `space`: free and waiting bytes.
- `view`: states, snapshots, verified reads. `recovery`: from bytes to the newest whole commit.
- `glance`: is there a newer commit; `following`: keeping up with those who write it.
- `transaction`: one set of changes; `placing`: the space it takes and writes to, and `lane`: with
  other threads. `few`: two or three records, committed without one.
- `rootcommit`: writing a new tree. `interrupts`: Ctrl-C held.
- `writer`: commits and checkpoints. `history`: versions and tags. `upkeep`: use, check, compact.
- `backup`: a copy of one commit in a file of its own. `fresh`: a new store, in one go.
- `creation`: making and finding stores. `engine`: the open store.
- `salvage`: the newest state of a broken file; `candidates`: which there may be; `survivors`: what
  is left of a tree; `scan`: frames without pointers.
- `sealed`: bodies under a key; `sealedrecords`: records of them; `sealedpages`: many pages at once;
  `fieldkeys`: who opens a field; `manifest`: what belongs to it.
- `sealedstore`: all of a store under one lock; `relocking`: another lock; `locked`: what can be
  said without it; `survivingsealed`: what is left of a broken one.
- `pages`: column pages, encoded and decoded; `batches`: those of a column together; `oneblock`: for
  a single value or a search; `mapped`: as they lie in the file; `ahead`: brought near over a
  network. `parallel`: threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.lazy import lazily

if TYPE_CHECKING:
    from kist.engine import ahead, batches, oneblock, pages, textpages
    from kist.engine.engine import Durability, Engine
    from kist.engine.history import CommitInfo
    from kist.engine.placing import Frame
    from kist.engine.transaction import Transaction
    from kist.engine.upkeep import Pin, Problem, Usage
    from kist.engine.view import Snapshot, View
    from kist.format.values import Pointer
else:
    __getattr__ = lazily(
        __name__,
        CommitInfo="history",
        Durability="engine",
        Engine="engine",
        Frame="placing",
        Pin="upkeep",
        Pointer="view",
        Problem="upkeep",
        Snapshot="view",
        Transaction="transaction",
        Usage="upkeep",
        View="view",
    )

__all__ = [
    "CommitInfo",
    "Durability",
    "Engine",
    "Frame",
    "Pin",
    "Pointer",
    "Problem",
    "Snapshot",
    "Transaction",
    "Usage",
    "View",
]
