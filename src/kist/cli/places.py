"""Targets of verbs that change a store, and what these say about them."""

from __future__ import annotations

import os
from typing import Any

import click

from kist.cli.common import split_place

__all__ = ["itself", "named_target", "said"]


def named_target(target: str, file: str) -> tuple[str, str]:
    """Return (file, path) of a target, where ``:PATH`` is in `file`.

    Raises
    ------
    UsageError
        It is no store: probably a path whose colon was forgotten.
    """
    if target.startswith(":"):
        return file, target[1:].strip("/")
    to_file, to_path = split_place(target)
    if not os.path.exists(to_file) and not to_file.endswith(".kist"):
        raise click.UsageError(
            f"there is no store {to_file!r}; a new one is NAME.kist, a place in {file!r} is "
            f":{target}"
        )
    return to_file, to_path.strip("/")


def itself(store: Any, path: str) -> Any:
    """Return the node at a path, where a link stands for itself."""
    from kist.errors import NodeNotFoundError

    try:
        return store.open_link(path)
    except NodeNotFoundError:
        return store[path]


def said(store: Any, path: str) -> str:
    """Return how messages name a node: what it is, and how much it holds."""
    from kist.model.text import visible

    node = itself(store, path)
    if node.kind == "link":
        return visible(f"link {node.name} -> {node.leads_to}")
    size = ""
    if node.kind == "table":
        size = f" ({len(node):,} rows)"
    elif node.kind == "key store":
        size = f" ({len(node):,} keys)"
    elif node.kind == "array":
        size = f" {node.shape}"
    else:
        found: list[str] = []
        node.visit(found.append)
        size = f" ({len(found):,} node{'' if len(found) == 1 else 's'})"
    return visible(f"{node.kind} {node.name}{size}")
