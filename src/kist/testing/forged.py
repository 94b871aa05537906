"""The hostile file of a seed: one of the bases with one thing in it changed."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import NamedTuple

from kist.errors import KistError
from kist.format import keys
from kist.testing.bases import BASES, Made, base_of, made
from kist.testing.bodies import changed
from kist.testing.insiders import changed_inside
from kist.testing.mutations import Mutation, mutate
from kist.testing.surgery import Image

__all__ = ["OUTSIDE", "WAY", "Forged", "forge"]

OUTSIDE, WAY = "outside.kist", "way.kist"
"""A store that no link may lead to, above the folder, and a symbolic link to it in the folder."""


class Forged(NamedTuple):
    """A store that was made to do harm.

    Attributes
    ----------
    base : str
        What it was made of, one of `BASES`.
    data : bytes
        Its file.
    made : Made
        With the files beside it.
    mutation : Mutation
        What was changed.
    """

    base: str
    data: bytes
    made: Made
    mutation: Mutation

    @property
    def only(self) -> str | None:
        """Path of the node that was changed, where that is known."""
        return _paths(self.base).get(self.mutation.node)

    def write(self, folder: Path) -> Path:
        """Write it into a folder of that folder; returns its path."""
        inner = folder / "inner"
        inner.mkdir(exist_ok=True)
        for name in self.made.beside:
            (inner / name).unlink(missing_ok=True)
        (folder / OUTSIDE).write_bytes(made("links").beside["part-0.kist"])
        if not (inner / WAY).is_symlink():
            (inner / WAY).symlink_to(folder / OUTSIDE)
        return self.made.write(inner, self.data)


def forge(seed: int) -> Forged:
    """The hostile file of a seed. Of a sealed one the keys and salts differ from time to time."""
    rng, name = random.Random(seed), base_of(seed)
    base = made(name)
    if name == "sealed store" and rng.random() < 0.1:
        return Forged(name, *_bytes(rng, base))
    if name == "sealed store" or (name == "sealed" and rng.random() < 0.7):
        data, mutation = changed_inside(rng, name)
        return Forged(name, data, base, mutation)
    if base.beside and rng.random() < 0.2:
        return Forged(name, base.data, *_beside(rng, base))
    data, mutation = mutate(rng, base.data)
    return Forged(name, data, base, mutation)


def _bytes(rng: random.Random, base: Made) -> tuple[bytes, Made, Mutation]:
    """A sealed store, changed by somebody who has no key: anywhere, sums not made right."""
    data = bytearray(base.data)
    at = rng.choice((0, 4096, 8192, 12288, 16384, rng.randrange(len(data) - 4096)))
    data[at : at + 4096] = changed(rng, bytes(data[at : at + 4096]))[:4096].ljust(4096, b"\0")
    return bytes(data), base, Mutation("bytes", f"sealed store: near {at}")


def _beside(rng: random.Random, base: Made) -> tuple[Made, Mutation]:
    """One of the files that links lead to, changed."""
    name = rng.choice(sorted(base.beside))
    old = base.beside[name]
    if name.endswith(".kist"):
        new, mutation = mutate(rng, old)
        mutation = mutation._replace(kind="beside", what=f"{name}: {mutation.what}", node=0)
    else:
        new, mutation = changed(rng, old), Mutation("beside", f"{name}: bytes")
    return Made(base.data, base.beside | {name: new}), mutation


@cache
def _paths(base: str) -> dict[int, str]:
    """Paths of the nodes of a base, but for the root, as far as they stand there in clear."""
    found: dict[int, str] = {}
    try:
        image = Image(made(base).data)
        entries = image.entries()
        for node in {keys.node_of(key) for key in entries} - {keys.STORE, keys.ROOT}:
            path = image.path_of(node, entries)
            if path is not None:
                found[node] = path
    except KistError:
        if "secrets" not in BASES[base].options:
            raise
    return found
