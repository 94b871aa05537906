"""Random programs over all objects of a store, beside a model of plain NumPy and dicts.

A program is a numbered sequence of steps, each one commit: datasets are made, written, grown,
shrunk, moved, copied and deleted, attributes set, several of these in one transaction, some of
them rolled back to a savepoint. What step 17 does depends on the seed and on what stands there
after step 16, so a writer that is killed and a judge that was not there agree on it.

A program for tests::

    world = World(seed)
    for _ in range(20):
        take_step(store, world)  # does to the store what `world.next()` does to the model
        world = world.next()
        assert world.differences(store) == []
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import kist

__all__ = ["World", "take_step"]

Array = np.ndarray[Any, Any]
Op = tuple[str, tuple[Any, ...]]

ROW = np.dtype([("id", "<i8"), ("value", "<f8"), ("name", "S5"), ("pos", "<f4", (2,))])
DTYPES = ("<f8", "<i4", ">i2", "u1", "?", "<c16", "S3", "<U2", "<M8[ms]")
GROUPS = ("", "g/", "g/h/")
MOST_VALUES = 20_000


def _values(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Array:
    """Return an array of any kind, compressible or not."""
    # NumPy makes scalars of what it computes with arrays without dimensions.
    return np.asarray(_computed(rng, dtype, shape))


def _computed(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Any:
    kind = np.dtype(dtype).kind
    numbers: Any
    if rng.random() < 0.3:
        numbers = np.arange(int(np.prod(shape))).reshape(shape)
    else:
        numbers = rng.integers(0, 1000, shape)
    if kind in "SU":
        return np.asarray(numbers % 97).astype(dtype)
    if kind == "f":
        return (numbers / 7 if rng.random() < 0.5 else np.round(numbers / 7, 2)).astype(dtype)
    if kind in "bui":
        return (numbers % 120).astype(dtype)
    return numbers.astype("<i8").astype(dtype)


def _rows(rng: np.random.Generator, n: int) -> Array:
    rows = np.zeros(n, ROW)
    rows["id"] = rng.integers(0, 10**6) + np.arange(n)
    rows["value"] = np.round(rng.normal(size=n), 3)
    rows["name"] = rng.integers(0, 50, n).astype("S5")
    rows["pos"] = rng.integers(0, 9, (n, 2))
    return rows


def _plain(rng: np.random.Generator) -> Any:
    """Return a value for an attribute or a key store."""
    makers: tuple[Callable[[], Any], ...] = (
        lambda: int(rng.integers(-(2**40), 2**40)),
        lambda: float(rng.normal()),
        lambda: "x" * int(rng.integers(0, 30)),
        lambda: b"y" * int(rng.integers(0, 30)),
        lambda: (True, None, [1, (2.5, "z")]),
        lambda: {"a": 1, "b": {"c": np.float32(2)}},
        lambda: _values(rng, "<f8", (int(rng.integers(0, 40)),)),
        lambda: _values(rng, "<i4", (int(rng.integers(300, 4000)),)),
        lambda: (_values(rng, "<f8", (700,)), _values(rng, ">i2", (30, 50))),
    )
    return makers[rng.integers(len(makers))]()


def _key(rng: np.random.Generator) -> Any:
    number = int(rng.integers(0, 30))
    return (f"k{number}", number - 10, b"b%d" % number)[rng.integers(3)]


@dataclass
class World:
    """What a store holds after some steps of a program.

    Attributes
    ----------
    seed, step : int
        Which program, and how many steps of it were taken.
    nodes : dict of str to object
        Path -> ndarray of an array, structured ndarray of a table, or dict of a key store.
    attrs : dict of (str, str) to object
        (path, name) -> value.
    """

    seed: int = 0
    step: int = 0
    nodes: dict[str, Any] = field(default_factory=dict)
    attrs: dict[tuple[str, str], Any] = field(default_factory=dict)

    def ops(self) -> list[Op]:
        """Return what the next step does."""
        return self._planned()[0]

    def next(self) -> World:
        """Return the world after one more step; this one stays."""
        return self._planned()[1]

    def _planned(self) -> tuple[list[Op], World]:
        rng = np.random.default_rng((self.seed, self.step))
        # Not deep: `_model` replaces what it changes.
        world = World(self.seed, self.step + 1, dict(self.nodes), dict(self.attrs))
        ops: list[Op] = []
        for _ in range(1 if rng.random() < 0.5 else int(rng.integers(2, 6))):
            op = _choose(rng, world)
            if rng.random() < 0.1:
                ops.append(("undone", (op,)))  # done within a savepoint, and taken back
            else:
                ops.append(op)
                _model(world, op)
        return ops, world

    def differences(self, store: kist.Store) -> list[str]:
        """Return what a store shows otherwise; nothing when it is the same."""
        with store.read():
            return list(_differences(self, store))

    def is_shown_by(self, store: kist.Store) -> bool:
        """Tell whether the store holds exactly this."""
        return not self.differences(store)


def _is_table(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.names is not None


def _choose(rng: np.random.Generator, world: World) -> Op:
    paths = sorted(world.nodes)
    if len(paths) < 3 or (len(paths) < 9 and rng.random() < 0.15):
        return _create(rng, world)
    path = paths[rng.integers(len(paths))]
    chance = rng.random()
    if chance < 0.1:
        return "attr", (path, f"n{rng.integers(3)}", _plain(rng))
    if chance < 0.13:
        return "delete", (path,)
    if chance < 0.16:
        return "move", (path, _free(rng, world))
    if chance < 0.18 and len(paths) < 9:
        return "copy", (path, _free(rng, world))
    value = world.nodes[path]
    if isinstance(value, dict):
        return _change_keys(rng, path, value)
    return _change_rows(rng, path, value) if _is_table(value) else _change(rng, path, value)


def _free(rng: np.random.Generator, world: World) -> str:
    while True:
        path = f"{GROUPS[rng.integers(3)]}d{rng.integers(1000)}"
        if path not in world.nodes:
            return path


def _create(rng: np.random.Generator, world: World) -> Op:
    path = _free(rng, world)
    kind = rng.integers(3)
    if kind == 0:
        return "table", (path, _rows(rng, int(rng.integers(0, 3000))))
    if kind == 1:
        return "keystore", (path, {_key(rng): _plain(rng) for _ in range(rng.integers(0, 5))})
    dtype = DTYPES[rng.integers(len(DTYPES))]
    ndim = int(rng.integers(0, 4))
    most = (1, 5000, 60, 16)[ndim]
    shape = tuple(int(n) for n in rng.integers(0, most + 1, ndim))
    chunks = None
    if ndim and rng.random() < 0.5:
        chunks = tuple(int(n) for n in rng.integers(1, max(2, most // 3), ndim))
    return "array", (path, _values(rng, dtype, shape), chunks)


def _change_keys(rng: np.random.Generator, path: str, value: dict[Any, Any]) -> Op:
    chance = rng.random()
    if value and chance < 0.2:
        keys = list(value)
        return "remove", (path, keys[rng.integers(len(keys))])
    if chance < 0.4:
        return "update", (path, {_key(rng): _plain(rng) for _ in range(rng.integers(1, 40))})
    return "put", (path, _key(rng), _plain(rng))


def _change_rows(rng: np.random.Generator, path: str, rows: Array) -> Op:
    n, chance = len(rows), rng.random()
    if n == 0 or (chance < 0.5 and n < MOST_VALUES):
        size = int(rng.choice((1, 10, 200, 5000)))
        return "append", (path, _rows(rng, size), 0)
    picked = np.unique(rng.integers(0, n, min(n, 20)))
    if chance < 0.7:
        return "assign", (path, picked, _rows(rng, len(picked)))
    if chance < 0.85:
        return "field", (path, picked, np.round(rng.normal(size=len(picked)), 2))
    return "rows", (path, picked if n < MOST_VALUES else np.arange(n // 2))


def _change(rng: np.random.Generator, path: str, values: Array) -> Op:
    dtype, shape, chance = values.dtype.str, values.shape, rng.random()
    if values.ndim and chance < 0.3 and values.size < MOST_VALUES:
        axis = int(rng.integers(values.ndim))
        size = int(rng.choice((1, 3, 40)))
        more = (*shape[:axis], size, *shape[axis + 1 :])
        return "append", (path, _values(rng, dtype, more), axis)
    if values.ndim and chance < 0.5:
        new = [max(0, n + int(rng.integers(-10, 11))) for n in shape]
        return "resize", (path, tuple(new))
    if values.ndim and min(shape) and chance < 0.65:
        picked = rng.integers(0, shape[-1], int(rng.integers(1, 6)))
        picked = np.unique(picked)
        return "write", (path, (..., picked), _values(rng, dtype, (*shape[:-1], len(picked))))
    key = tuple(_slice(rng, n) for n in shape)
    return "write", (path, key, _values(rng, dtype, values[key].shape))


def _slice(rng: np.random.Generator, n: int) -> slice:
    a, b = sorted(int(x) for x in rng.integers(0, n + 1, 2))
    return slice(a, b, int(rng.integers(1, 4)))


def _resized(values: Array, shape: tuple[int, ...]) -> Array:
    new = np.zeros(shape, values.dtype)
    common = tuple(slice(0, min(a, b)) for a, b in zip(values.shape, shape, strict=True))
    new[common] = values[common]
    return new


def _model(world: World, op: Op) -> None:
    """Do an operation to the model: what it changes is another object then."""
    name, (path, *rest) = op
    nodes, attrs = world.nodes, world.attrs
    if name == "undone":
        return
    if name in ("table", "keystore", "array"):
        nodes[path] = rest[0]
    elif name == "attr":
        attrs[path, rest[0]] = rest[1]
    elif name in ("delete", "move", "copy"):
        own = {n: v for (p, n), v in attrs.items() if p == path}
        if name != "delete":
            nodes[rest[0]] = nodes[path]
            attrs.update({(rest[0], n): v for n, v in own.items()})
        if name != "copy":
            del nodes[path]
            for n in own:
                del attrs[path, n]
    elif name == "append":
        old = nodes[path]  # NumPy gives the joined one the byte order of the machine
        nodes[path] = np.concatenate((old, rest[0]), axis=rest[1]).astype(old.dtype)
    elif name == "resize":
        nodes[path] = _resized(nodes[path], rest[0])
    elif name in ("assign", "write"):
        nodes[path] = nodes[path].copy()
        nodes[path][rest[0]] = rest[1]
    elif name == "field":
        nodes[path] = nodes[path].copy()
        nodes[path]["value"][rest[0]] = rest[1]
    elif name == "rows":
        nodes[path] = np.delete(nodes[path], rest[0])
    elif name == "put":
        nodes[path] = nodes[path] | {rest[0]: rest[1]}
    elif name == "update":
        nodes[path] = nodes[path] | rest[0]
    else:
        assert name == "remove", name
        nodes[path] = {key: value for key, value in nodes[path].items() if key != rest[0]}


class _TakenBackError(Exception):
    """Ends a nested block that is to leave nothing."""


def _do(store: Any, op: Op) -> None:
    """Do an operation to a store."""
    name, (path, *rest) = op
    if name == "undone":
        try:
            with store.transaction():
                _do(store, path)
                raise _TakenBackError
        except _TakenBackError:
            return
    if name == "table":
        store.create_table(path, rest[0])
    elif name == "keystore":
        store.create_keystore(path).update(rest[0])
    elif name == "array":
        chunks = {} if rest[1] is None else {"chunks": rest[1]}
        store.create_array(path, rest[0], **chunks)
    elif name == "attr":
        store[path].attrs[rest[0]] = rest[1]
    elif name == "delete":
        del store[path]
    elif name in ("move", "copy"):
        getattr(store, name)(path, rest[0])
    elif name == "append":
        args = rest if store[path].kind == "array" else rest[:1]
        store[path].append(*args)
    elif name == "resize":
        store[path].resize(rest[0])
    elif name in ("assign", "write", "put"):
        store[path][rest[0]] = rest[1]
    elif name == "field":
        store[path]["value"][rest[0]] = rest[1]
    elif name == "rows":
        store[path].delete(rest[0])
    elif name == "update":
        store[path].update(rest[0])
    else:
        del store[path][rest[0]]


def take_step(store: kist.Store, world: World) -> None:
    """Do to a store what the next step of a world is, as one commit."""
    ops = world.ops()
    if len(ops) == 1 and ops[0][0] not in ("undone", "keystore"):
        _do(store, ops[0])
        return
    with store.transaction(f"step {world.step + 1}"):
        for op in ops:
            _do(store, op)


def _differences(world: World, store: Any) -> Any:
    found = {}

    def note(path: str, node: Any) -> None:
        if not isinstance(node, kist.Group):
            found[path] = node

    store.visititems(note)
    if set(found) != set(world.nodes):
        yield f"datasets {sorted(found)}, not {sorted(world.nodes)}"
        return
    for path, wanted in world.nodes.items():
        node = found[path]
        if isinstance(wanted, dict):
            if list(node) != sorted(wanted, key=_order):
                yield f"{path}: keys {list(node)}"
            elif len(node) != len(wanted):
                yield f"{path}: {len(node)} keys, not {len(wanted)}"
            else:
                pairs = [(key, value) for key, value in node.items()]
                yield from (
                    f"{path}[{key!r}]" for key, value in pairs if not _same(value, wanted[key])
                )
        elif not _same(node[...] if not _is_table(wanted) else node[:], wanted):
            yield f"{path}: other values"
        attrs = {name: value for (p, name), value in world.attrs.items() if p == path}
        if not _same(dict(node.attrs), dict(sorted(attrs.items()))):
            yield f"{path}: attributes {dict(node.attrs)!r}"


def _order(key: Any) -> tuple[int, Any]:
    if isinstance(key, str):
        return 2, key.encode()
    return (1, key) if isinstance(key, bytes) else (0, key)


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal, also in their types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)
