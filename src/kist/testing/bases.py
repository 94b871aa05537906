"""The stores that hostile files are made of: together they hold every kind of object.

One with everything that is old, and small ones, which are quickly asked: newer kinds of column and
indexes, links with the files beside them, parts of what was split, what was merged and made
compact, sealed objects in an open store, and a store that is sealed as a whole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import kist
from kist.testing import workload
from kist.testing.everything import fill

__all__ = ["BASES", "FILE", "KEY", "MEMORY_FOLDER", "OTHER", "Base", "Made", "base_of", "made"]

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
FILE: Final = "hostile.kist"
"""Name of the store; what it links to stands beside it."""
MEMORY_FOLDER: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where no sync waits for a disk: what is asked of these files has nothing to do with one."""
_TIME: Final = 1_750_000_000_000_000_000
"""Time of the last change of the files beside it, which a link may have noted."""
_ROW: Final = np.dtype([("id", "i8"), ("x", "f8"), ("s", "S4")])


class Base(NamedTuple):
    """How a store is made.

    Attributes
    ----------
    make : callable
        Called with the path that it shall have; may put files beside it.
    options : mapping of str to object
        Of `kist.open`, for whoever opens it.
    """

    make: Callable[[Path], None]
    options: Mapping[str, Any] = {}


class Made(NamedTuple):
    """A store that was made.

    Attributes
    ----------
    data : bytes
        Its file, closed in order.
    beside : dict of str to bytes
        Files beside it, by name.
    """

    data: bytes
    beside: dict[str, bytes]

    def write(self, folder: Path, data: bytes | None = None) -> Path:
        """Write all of it into a folder, the store with other bytes; returns its path."""
        for name, content in self.beside.items():
            (folder / name).write_bytes(content)
            os.utime(folder / name, ns=(_TIME, _TIME))
        path = folder / FILE
        path.write_bytes(self.data if data is None else data)
        return path


def _rows(n: int, start: int = 0) -> np.ndarray[Any, Any]:
    rows = np.zeros(n, _ROW)
    rows["id"] = np.arange(start, start + n)
    rows["x"] = rows["id"] % 50 / 4
    rows["s"] = np.array([b"ab", b"cd", b""])[rows["id"] % 3]
    return rows


def _everything(path: Path) -> None:
    with kist.open(path, "w", durability="none") as store:
        fill(store)


# Newer kinds of column, indexes, changed schemas


def _columns(path: Path) -> None:
    with kist.open(path, "w", durability="none") as store:
        _make_columns(store)
        store.tag("kept")  # which writes all of it into the tree
        store["indexed"].append(_rows(3, 6000))


def _make_columns(store: Any) -> None:
    n = 4500
    ids = np.arange(n)
    nulls = {"i": "<i4", "b": "?", "t": "<M8[s]", "s": "S3"}
    rows = np.zeros(n, [("id", "<i4"), *((k, kist.nullable(d)) for k, d in nulls.items())])
    rows["id"], rows["i"]["value"], rows["s"]["value"] = ids, ids % 100, b"abc"
    rows["i"]["valid"] = rows["s"]["valid"] = ids % 7 != 0
    table = store.create_table("nullable", rows)
    table.append([(n, 1, None, np.datetime64(7, "s"), b"x")])
    table["i"][10:12] = [None, 77]
    sizes = kist.categorical("S5", [b"small", b"large"], ordered=True)
    dtype = {
        "c": kist.categorical("str", ["pear"]),
        "n": kist.categorical("<i2"),
        "o": sizes,
        "e": kist.enum({"red": 7, "blue": -1, "green": 2}),
    }
    table = store.create_table("categories", dtype=dtype)
    words = np.array(["pear", "fig", "", "d\u00e4t\u0119"], object)
    table.append(
        {
            "c": words[ids % 4].tolist(),
            "n": (ids % 9).tolist(),
            "o": np.array([b"small", b"large"], object)[ids % 2].tolist(),
            "e": np.array(["red", "blue", "green"], object)[ids % 3].tolist(),
        }
    )
    table["c"][10:12] = ["one more", None]
    ragged = {
        "f": kist.ragged("<f8"),
        "b": kist.ragged(bytes),
        "p": kist.ragged("<i2", (2,)),
        "gone": kist.ragged("u1"),
        "t": kist.nullable(kist.ragged(np.dtypes.StringDType(na_object=None))),
        "w": kist.ragged(str),
    }
    table = store.create_table("ragged", dtype=ragged)
    tags = ["d\u00e4t\u0119", None, "", "x" * 20]
    cells = [
        (
            np.arange(i % 4) / 2,
            bytes(range(i % 5)),
            np.zeros((i % 3, 2), "i2"),
            b"",
            None if i % 6 == 1 else tags[i % 3 : i % 5],
            [f"one {i}"] * (i % 3),
        )
        for i in range(1200)
    ]
    table.append(cells)
    table.append(cells[:3])
    table["f"][7:9] = [[1.25], []]
    table["t"][9:11] = [None, ["patched", None]]
    table.drop_column("gone")
    table.add_column("later", kist.ragged("<u4"), fill_value=[1, 2])
    _make_altered(store)
    _make_indexed(store)


def _make_altered(store: Any) -> None:
    table = store.create_table("altered", _rows(3000))
    table.append(_rows(9))
    table["x"][5:9] = -1.0
    table.drop_column("s")
    table.add_column("flag", True, position=1, attrs={"unit": "none"})
    text = np.dtypes.StringDType(na_object=None)
    table.add_column("text", None, text, fill_value=None)
    table.rename_column("id", "time")
    table.add_column("twice", kist.expr("time * 2"), "i8")
    table.add_column("half", kist.expr("twice / 4"), virtual=True, position=0)
    table.cast_column("x", "f4")
    table.append({"time": [1, 2], "x": [0.5, 1.5], "text": ["one", None]})
    table.reorder(["half", "text", "x", "flag", "time", "twice"])


def _make_indexed(store: Any) -> None:
    table = store.create_table("indexed", _rows(3000))
    table.create_index("id", unique=True)
    table.create_index("s", "x", name="by name")
    table.create_index("x")
    table.delete(slice(100, 200))
    table["x"][300:305] = 1.5
    table.append(_rows(7, 5000))


# Links, and the files that they lead to


def _links(path: Path) -> None:
    folder = path.parent
    for number in range(2):
        with kist.open(folder / f"part-{number}.kist", "w", durability="none") as part:
            part["t"] = _rows(60, 60 * number)
            part["a"] = np.arange(20.0).reshape(10, 2) + number
            part.create_table(
                "coded", dtype={"c": kist.categorical("str", [f"only {number}", "both"])}
            )
            part["coded"].append({"c": ["both", f"only {number}"] * 9})
            part.tag("june")
    np.save(folder / "frames.npy", np.arange(60, dtype="<i4").reshape(12, 5))
    (folder / "raw.bin").write_bytes(b"head" + np.arange(6, dtype=">i2").tobytes())
    for beside in folder.iterdir():
        os.utime(beside, ns=(_TIME, _TIME))
    with kist.open(path, "w", durability="none") as store:
        store["days/1"], store["days/2"] = _rows(50), _rows(40, 50)
        store["runs"] = np.arange(6.0)
        store.create_link("newest", "days/2", title="The newest day")
        store.create_link("days/back", "/newest")
        store.create_link("nowhere", "/days/3")
        store.create_union("all", "days/*", "/**/1")
        store.create_link("outside", "t", file="part-1.kist")
        store.create_link("tagged", "/a", file="part-0.kist", version="june")
        store.create_union("linked", "t", files="part-*.kist", attrs={"n": 2})
        store.create_union("coded", "coded", files="part-*.kist")
        store.create_union("cube", "a", files="part-*.kist", version="june")
        store.create_array_link("frames", "frames.npy")
        raw: dict[str, Any] = {"dtype": ">i2", "shape": (3, 2), "order": "F", "offset": 4}
        store.create_array_link("raw", "raw.bin", **raw)
        store.create_array_link("unverified", "raw.bin", **raw, sums=False)
        store.tag("kept")
        store.create_link("late", "runs")


# Parts and what is made of them


def _make_parted(store: Any) -> None:
    table = store.create_table("t", _rows(3000), encrypt={"x": KEY})
    table.append(_rows(9, 3000))
    table.create_index("id", unique=True)
    store.create_array("a", np.arange(900.0), chunks=(200,))
    runs = store.create_keystore("k")
    runs.update({f"k{n}": _rows(n, n) for n in range(20)})


def _whole(path: Path) -> Path:
    whole = path.with_name("whole.kist")
    with kist.open(whole, "w", durability="none") as store:
        _make_parted(store)
    return whole


def _part(path: Path) -> None:
    whole = _whole(path)
    out = path.parent / "part-{}.kist"
    first, second = kist.split(whole, "t", parts=2, out=out, secrets=KEY)
    Path(second).replace(path)
    Path(first).unlink()
    whole.unlink()


def _merged(path: Path) -> None:
    whole = _whole(path)
    names: list[str] = []
    for name in "tak":
        out = path.parent / f"{name}-{{}}.kist"
        names += kist.split(whole, name, parts=2, out=out, secrets=KEY)
    kist.merge(names, path, secrets=KEY)
    for made_file in (str(whole), *names):
        os.unlink(made_file)
    with kist.open(path, "r+", secrets=KEY, durability="none") as store:
        store["t"].delete(slice(0, 900, 2))
        del store["a"]
        store.compact()


# Sealed things


def _sealed(path: Path) -> None:
    with kist.open(path, "w", durability="none") as store:
        make_sealed(store)


def make_sealed(store: Any) -> None:
    """Sealed columns, an array, a key store and a group, rotated on the way."""
    secrets = {("value", "id"): KEY, "name": [KEY, OTHER]}
    table = store.create_table("rows", workload.rows(900, 1), encrypt=secrets)
    table.append(workload.rows(9, 2))
    table.create_index("id")
    images = store.create_array("images", np.arange(600).reshape(6, 100), encrypt=KEY, fill_value=3)
    images.append(np.ones((3, 100), int))
    runs = store.create_keystore("runs", encrypt={"a": KEY, "b": OTHER})
    runs.update({f"k{n}": n for n in range(20)})
    runs["large"] = np.arange(900)
    table.rotate()
    runs.rotate()
    ward = store.create_group("ward", encrypt={"lab": KEY}, title="Ward 3")
    ward["rows"] = workload.rows(30, 3)
    ward["scans"] = np.arange(600).reshape(60, 10)
    ward["sub/few"] = np.array([1.5, -2.5])
    ward.attrs.update(head="Dr. No", large=np.arange(900))
    words = np.array(["word", None, "x" * 30] * 20, np.dtypes.StringDType(na_object=None))
    store.create_table("texts", {"w": words}, encrypt=KEY)
    store.tag("kept")
    table["value"][3:9] = 0.5
    table.delete(slice(40, 50))


def _sealed_store(path: Path) -> None:
    with kist.open(path, "w", durability="none", encrypt=KEY) as store:
        make_whole(store)


def make_whole(store: Any) -> None:
    """Objects of each kind, for a store that is sealed as a whole."""
    table = store.create_table("g/t", _rows(3000))
    table.append(_rows(9, 3000))
    table.create_index("id")
    table.attrs["unit"] = "m"
    store.create_array("a", np.arange(900.0).reshape(30, 30), chunks=(20, 20))
    words = np.array(["word", None, "x" * 30] * 20, np.dtypes.StringDType(na_object=None))
    store.create_table("texts", {"w": words})
    runs = store.create_keystore("k")
    runs.update({f"k{n}": _rows(n, n) for n in range(20)})
    store.create_link("newest", "g/t")
    store.tag("kept")
    store["g/t"]["x"][3:9] = 0.5
    store["g/t"].append(_rows(5))


SECRETS: Final = {"secrets": [KEY, OTHER]}

BASES: Final[dict[str, Base]] = {
    "everything": Base(_everything),
    "columns": Base(_columns),
    "links": Base(_links),
    "part": Base(_part, SECRETS),
    "merged": Base(_merged, SECRETS),
    "sealed": Base(_sealed, SECRETS),
    "sealed, no secret": Base(_sealed),
    "sealed store": Base(_sealed_store, {"secrets": {"/": KEY}}),
}


@cache
def made(name: str) -> Made:
    """The store of that name and what stands beside it."""
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
        path = Path(folder) / FILE
        BASES[name].make(path)
        others = sorted(one for one in Path(folder).iterdir() if one != path)
        return Made(path.read_bytes(), {one.name: one.read_bytes() for one in others})


def base_of(seed: int) -> str:
    """Name of the base that a seed is for: each of them in turn, for two seeds."""
    return list(BASES)[seed // 2 % len(BASES)]
