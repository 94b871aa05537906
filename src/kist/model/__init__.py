"""What users hold: stores, groups, tables, arrays, key stores, and what is read from them.

Four packages for what a store holds: `tables`, `arrays`, `keystores`, and `frames` for DataFrames
and Arrow on their way in and out. `evaluation` computes expressions over whole arrays and columns.
Beside them, in the order in which one meets them:

- `store`: `open` and the open file; `sources`: files that others are made of. `shelf`: a
  dictionary in one. `group`, with `group_tables`,
  `group_arrays`, `group_keystores` and what these share in `group_maker`. `node`: what all have.
  `attributes`: small named values on nodes and columns.
- `given`: what becomes a table, and what an array. `paths`: which names are allowed. `directory`:
  the hierarchy as records of the map. `copying` of nodes, by `extents`, which are copied as bytes.
- `session`: who sees which state, and whose turn it is to write. `transactions`: the blocks of
  it that users write. `history`: commits and tags. `handles`: handles across processes.
- For several: `indexing`, `index_items` and `positions`: what a key denotes. `casts`,
  `cast_values`, `cast_items`: values checked one by one. `page_build`: one page, encoded with a
  kept or a new recipe.
- `comparing`: what differs between two nodes. `repacking`: a store written anew. `summary`:
  numbers about values read in blocks. `packing`: one object as bytes.
- What things say about themselves: `info`, `tree`, `preview`, `text`, `html`, `completing`.
- `sealing` (a package): datasets that are sealed as a whole, and their secrets. `storesecrets`:
  those of a sealed store; `sealedfile`: what can be said of one without them.
- `parts` (a package): datasets split into files and merged again. `unions` (a package): many
  tables read as one.
- `backups`: a copy in a file of its own. `saving`: ``kist.save``, ``savez`` and ``load``, in the
  place of NumPy's.
- Damage: `check` finds it, `damage` is what reading around it shares, `salvage` (a package) saves
  what is whole into a new file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.lazy import lazily

if TYPE_CHECKING:
    from kist.model import (
        attributes,
        backups,
        completing,
        frames,
        given,
        history,
        info,
        storesecrets,
        text,
        tree,
    )
else:
    __getattr__ = lazily(__name__)
