"""The columns of a key: which leaves each has, and which of its values are missing.

A nullable column has two leaves. Its key begins with the one that says which values are there, so
that the rows without a value stand together, before all others: ranges of values hold none of
them, and neither does what is looked for to be equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kist.format.schema import Leaf, Schema
from kist.indexes.keys import LAST_WORD, is_exact, missing_word, n_words
from kist.model.tables.stored.schema import facts_of

__all__ = ["KeyPart", "key_parts"]

Array = np.ndarray[Any, Any]


class KeyPart(NamedTuple):
    """One column of a key.

    Attributes
    ----------
    name : str
        As users name it.
    leaf : Leaf
        What holds its values, or their codes.
    valid : Leaf or None
        What says which values are there, of a nullable column; its word stands first.
    is_code : bool
        Whether the values are codes of categories; 0 is that of no value.
    """

    name: str
    leaf: Leaf
    valid: Leaf | None
    is_code: bool

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The leaves, in the order of their words."""
        return (self.leaf,) if self.valid is None else (self.valid, self.leaf)

    @property
    def bound_name(self) -> str:
        """As conditions name it that are bound to codes of categories."""
        return ".".join(self.leaf.path) if self.valid is None else self.name

    @property
    def n_words(self) -> int:
        """Words of its part of the key."""
        return n_words(self.leaf.dtype) + (self.valid is not None)

    @property
    def is_exact(self) -> bool:
        """Whether values with the same words are equal."""
        return is_exact(self.leaf.dtype)

    @property
    def first_value(self) -> int:
        """Key of the first value, as a number; that of a null is less."""
        return 0 if self.valid is None else 1 << (64 * n_words(self.leaf.dtype))

    @property
    def missing_value(self) -> int | None:
        """Key of NaN, NaT or a missing string, as a number; None where there is none."""
        if not missing_word(self.leaf.dtype):
            return None
        return self.first_value + (1 << (64 * n_words(self.leaf.dtype))) - 1

    def missing(self, words: Array) -> Array:
        """Return which of some words, shape (n, n_words), are those of a missing value."""
        if self.is_code:
            return np.asarray(words[:, 0] == 0)
        found = np.zeros(len(words), bool) if self.valid is None else words[:, 0] == 0
        if missing_word(self.leaf.dtype):
            found |= (words[:, self.valid is not None :] == LAST_WORD).all(axis=1)
        return np.asarray(found)


def key_parts(schema: Schema, leaves: Sequence[Leaf]) -> tuple[KeyPart, ...]:
    """Return the columns that some leaves of a key are of.

    A nullable column is one where its two leaves stand behind each other; each of them can also be
    a column of its own.
    """
    facts = facts_of(schema)
    found = []
    at = 0
    while at < len(leaves):
        leaf, *behind = leaves[at : at + 2]
        value = behind[0] if behind else None
        if value is not None and facts.valid_of.get(value.id) == leaf:
            found.append(KeyPart(value.path[0], value, leaf, False))
            at += 2
            continue
        is_code = schema.columns[leaf.column].is_categorical
        name = leaf.path[0] if is_code else ".".join(leaf.path)
        found.append(KeyPart(name, leaf, None, is_code))
        at += 1
    return tuple(found)
