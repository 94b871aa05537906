"""HDF5 into a store and back, type by type: nothing differs of which the report does not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.bridges import report

h5py = pytest.importorskip("h5py")
h5a, h5d, h5s, h5t = h5py.h5a, h5py.h5d, h5py.h5s, h5py.h5t

SHAPES: list[Any] = [(), (3,), (2, 3)]


def text(size: Any, pad: Any, charset: Any) -> Any:
    kind = h5t.C_S1.copy()
    kind.set_size(size)
    kind.set_strpad(pad)
    kind.set_cset(charset)
    return kind


def number(like: Any, precision: int, offset: int = 0) -> Any:
    kind = like.copy()
    kind.set_precision(precision)
    kind.set_offset(offset)
    return kind


def compound(*fields: tuple[str, Any]) -> Any:
    """Return a type whose fields stand apart, with bytes between them."""
    size, offsets = 0, []
    for _, kind in fields:
        offsets.append(size)
        size += kind.get_size() + 3
    out = h5t.create(h5t.COMPOUND, size)
    for (name, kind), offset in zip(fields, offsets, strict=True):
        out.insert(name.encode(), offset, kind)
    return out


def types() -> dict[str, Any]:
    """Return types of every class, with what h5py's dtypes do not tell of them."""
    found: dict[str, Any] = {}
    for pad in (h5t.STR_NULLTERM, h5t.STR_NULLPAD, h5t.STR_SPACEPAD):
        for charset in (h5t.CSET_ASCII, h5t.CSET_UTF8):
            found[f"text {pad} {charset}"] = text(6, pad, charset)
            found[f"any text {pad} {charset}"] = text(h5t.VARIABLE, pad, charset)
    for size in (8, 16, 32, 64):
        found[f"bits {size}"] = getattr(h5t, f"STD_B{size}LE").copy()
        found[f"other bits {size}"] = getattr(h5t, f"STD_B{size}BE").copy()
    for spec in ("i1", "<u2", ">i4", ">i8", "<f2", ">f4", "<f8", "g", "<c8", ">c16", "?", "V3"):
        found[f"dtype {spec}"] = h5t.py_create(np.dtype(spec), logical=True)
    found["time"] = h5t.py_create(h5py.opaque_dtype(np.dtype("M8[us]")), logical=True)
    found["12 bits"] = number(h5t.STD_I16LE, 12)
    found["20 bits"] = number(h5t.STD_U32BE, 20, 4)
    half = h5t.IEEE_F32LE.copy()
    half.set_fields(15, 7, 8, 0, 7)
    half.set_precision(16)
    half.set_size(2)
    found["bfloat16"] = half
    found["tagged"] = h5t.create(h5t.OPAQUE, 4)
    found["tagged"].set_tag(b"a tag")
    found["enum"] = h5t.enum_create(h5t.STD_I16BE)
    for name, value in ((b"A", 1), (b"B", 5)):
        found["enum"].enum_insert(name, value)
    found["array"] = h5t.array_create(h5t.STD_I32BE, (2, 3))
    found["array of enum"] = h5t.array_create(found["enum"], (2,))
    found["list"] = h5t.vlen_create(h5t.STD_I16LE)
    found["list, other order"] = h5t.vlen_create(h5t.IEEE_F64BE)
    found["list of enum"] = h5t.vlen_create(found["enum"])
    found["list of text"] = h5t.vlen_create(text(h5t.VARIABLE, h5t.STR_NULLTERM, h5t.CSET_UTF8))
    found["list of lists"] = h5t.vlen_create(found["list"])
    found["reference"] = h5t.STD_REF_OBJ.copy()
    found["region"] = h5t.STD_REF_DSETREG.copy()
    found["rows"] = compound(
        ("a", h5t.STD_I32BE), ("s", found["text 2 1"]), ("b", h5t.STD_B16LE), ("o", found["tagged"])
    )
    found["rows in rows"] = compound(
        ("x", found["array of enum"]), ("y", found["rows"]), ("z", found["12 bits"])
    )
    found["rows of text"] = compound(("i", h5t.STD_I64LE), ("t", found["any text 0 0"]))
    found["rows of lists"] = compound(("i", h5t.STD_I64LE), ("t", found["list, other order"]))
    return found


TYPES = types()


def stored(data: Any, kind: Any) -> np.ndarray[Any, Any]:
    """Return values of a dataset or attribute as the bytes in the file, bit by bit."""
    dtype, shape = kind.dtype, data.shape
    if dtype.hasobject or dtype.kind == "f":  # there are bytes between long doubles
        base = dtype
        values = np.zeros(shape, dtype)
        kind = None
    else:
        base = np.dtype((np.void, kind.get_size()))
        values = np.zeros(shape, base)
    if isinstance(data, h5a.AttrID):
        data.read(values, mtype=kind)
    else:
        data.read(h5s.ALL, h5s.ALL, values, h5t.py_create(base) if kind is None else kind)
    return values


def fill(data: Any, kind: Any, seed: int) -> None:
    """Write something into a dataset or attribute, in the very type that it has."""
    rng, dtype = np.random.default_rng(seed), kind.dtype
    if dtype.hasobject:
        values = np.zeros(data.shape, dtype)
        for at in np.ndindex(data.shape):
            values[at] = cell(dtype, kind, sum(at))
        if h5py.check_ref_dtype(dtype) is None:
            write(data, values, h5t.py_create(dtype))
        return
    values = np.zeros(data.shape, np.dtype((np.void, kind.get_size())))
    for at in np.ndindex(data.shape):
        values[at] = np.void(raw(rng, kind))
    write(data, values, kind)


def write(data: Any, values: Any, kind: Any) -> None:
    if isinstance(data, h5a.AttrID):
        data.write(values, mtype=kind)
    else:
        data.write(h5s.ALL, h5s.ALL, values, kind)


def raw(rng: Any, kind: Any) -> bytes:
    """Return the bytes of a value that the type allows."""
    found, size = kind.get_class(), kind.get_size()
    if found == h5t.STRING:
        pad = b" " if kind.get_strpad() == h5t.STR_SPACEPAD else b"\0"
        return bytes(rng.choice([b"", b"ab", b"a c"])).ljust(size, pad)
    if found == h5t.ENUM:
        at = int(rng.integers(kind.get_nmembers()))
        value, base = kind.get_member_value(at), kind.get_super()
        return np.array(value, base.dtype).tobytes()
    if found == h5t.ARRAY:
        base = kind.get_super()
        return b"".join(raw(rng, base) for _ in range(size // base.get_size()))
    if found == h5t.COMPOUND:
        out = bytearray(size)
        for at in range(kind.get_nmembers()):
            start, below = kind.get_member_offset(at), kind.get_member_type(at)
            out[start : start + below.get_size()] = raw(rng, below)
        return bytes(out)
    if found == h5t.FLOAT and size > 2:
        return np.array(rng.integers(100), kind.dtype).tobytes()
    if found == h5t.INTEGER:
        value = int(rng.integers(1, 100)) << kind.get_offset()
        order = "big" if kind.get_order() == h5t.ORDER_BE else "little"
        return value.to_bytes(size, order)
    if found == h5t.FLOAT:
        return b"\x40\x3f"  # a half and some, of two bytes
    return bytes(rng.integers(1, 100, size, np.uint8))


def cell(dtype: Any, kind: Any, k: int) -> Any:
    if dtype.names is not None:
        return tuple(cell(dtype[name], None, k) for name in dtype.names)
    if h5py.check_string_dtype(dtype) is not None:
        return f"text {k}"
    base = h5py.check_vlen_dtype(dtype)
    if base is not None and np.dtype(base).hasobject:
        return np.array([cell(np.dtype(base), None, k)] * k + [None], object)[:-1]
    return np.arange(k).astype(base) if base is not None else k if dtype.kind != "O" else None


def space(shape: Any) -> Any:
    return h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)


def differences(a: Any, b: Any) -> Iterator[tuple[str, str]]:
    """Yield (path, what differs) of two files."""
    names: list[str] = []
    a.visit(names.append)
    for name in ("/", *names):
        if b.get(name) is None:
            yield f"/{name}", "is gone"
            continue
        x, y = a[name], b[name]
        for key in (set(x.attrs) | set(y.attrs)) - {"KIST"}:
            place = f"{x.name}@{key}"
            if not (key in x.attrs and key in y.attrs):
                yield place, "stands in one of them"
                continue
            ids = x.attrs.get_id(key), y.attrs.get_id(key)
            yield from ((place, what) for what in unlike(*ids))
        if isinstance(x, h5py.Datatype) and not x.id.equal(y.id):
            yield x.name, "is another type"
        elif isinstance(x, h5py.Dataset):
            yield from ((x.name, what) for what in unlike(x.id, y.id))


def unlike(x: Any, y: Any) -> Iterator[str]:
    kinds = x.get_type(), y.get_type()
    if not kinds[0].equal(kinds[1]):
        yield "is of another type"
    elif kinds[0].committed() != kinds[1].committed():
        yield "has a type without its name"
    elif x.get_space().get_simple_extent_type() != y.get_space().get_simple_extent_type():
        yield "is empty or a single value in one of them"
    elif x.shape != y.shape:
        yield "has another shape"
    elif x.get_space().get_simple_extent_type() != h5s.NULL:
        values = [stored(data, kind).tolist() for data, kind in zip((x, y), kinds, strict=True)]
        is_reference = h5py.check_ref_dtype(kinds[0].dtype) is not None
        if not is_reference and repr(values[0]) != repr(values[1]):
            yield "has other values"


def told(*reports: Any) -> set[str]:
    """Return the places of which reports tell."""
    places = (place for found in reports for note in found.notes for place in note.places)
    return {re.sub(r"^.*\.h5:", "", place) for place in places}


def is_told(place: str, places: set[str]) -> bool:
    return any(found == place or found.startswith((f"{place}.", f"{place} ")) for found in places)


def everything(path: Path) -> None:
    """Write datasets and attributes of all types, of several shapes, and empty ones."""
    with h5py.File(path, "w", libver="latest") as f:
        for name, kind in TYPES.items():
            group = f.create_group(name)
            for seed, shape in enumerate(SHAPES):
                made = h5d.create(group.id, f"x{seed}".encode(), kind, space(shape))
                fill(made, kind, seed)
                if name not in ("reference", "region"):
                    fill(h5a.create(made, b"like it", kind, space(shape)), kind, seed)
            h5d.create(group.id, b"empty", kind, h5s.create(h5s.NULL))
            h5a.create(group.id, b"empty too", kind, h5s.create(h5s.NULL))
            kind.copy().commit(group.id, b"type")
            group["type"].attrs["of"] = "types"
            made = h5d.create(group.id, b"of it", group["type"].id, space((2,)))
            fill(made, kind, 9)


def test_no_type_changes_without_a_word(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(report, "_PATHS_SHOWN", 10_000)
    everything(tmp_path / "a.h5")
    there = kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    back = kist.convert(tmp_path / "a.kist", tmp_path / "b.h5")
    places = told(there, back)
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        found = [f"{p} {what}" for p, what in differences(a, b) if not is_told(p, places)]
    assert not found
    silent = {note.code for found in (there, back) for note in found.notes}
    assert silent == {
        "hdf5.dtype", "hdf5.empty", "hdf5.empty_attribute", "hdf5.enum", "hdf5.named_type",
        "hdf5.nested_text", "hdf5.ragged", "hdf5.ragged_attribute", "hdf5.ragged_field",
        "hdf5.reference", "hdf5.region",
    }  # fmt: skip


@pytest.mark.parametrize("spec", [">i2", "<i2", ">f8", "<c8", ">c8"])
def test_lists_of_either_byte_order_have_their_values(tmp_path: Path, spec: str) -> None:
    values = np.array([1, 2, 770], spec)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        lists = f.create_dataset("lists", (2,), h5py.vlen_dtype(np.dtype(spec)))
        rows = f.create_dataset("rows", (2,), np.dtype([("l", h5py.vlen_dtype(np.dtype(spec)))]))
        lists[1] = values
        rows[1] = (values,)
        f.attrs.create("list", np.array([values, values[:1]], object), dtype=lists.dtype)
    assert values.tobytes() in (tmp_path / "a.h5").read_bytes()
    kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist") as store:
        assert store["lists/values"][:].tolist() == values.tolist()
        assert store["rows"]["l"][:][1].tolist() == values.tolist()
        assert store.attrs["list"][0].tolist() == values.tolist()
    kist.convert(tmp_path / "a.kist", tmp_path / "b.h5")
    assert (tmp_path / "b.h5").read_bytes().count(values.tobytes()) >= 3


FILLS = [
    ("<i4", 7), ("S3", b"abc"), ("V3", np.void(b"abc")), ("?", True), ("<i4,S2", (5, b"x")),
    (h5py.opaque_dtype(np.dtype("M8[s]")), np.array(5, h5py.opaque_dtype(np.dtype("M8[s]")))),
    (h5py.string_dtype(), "text"), (h5py.enum_dtype({"A": 1, "B": 2}), 2),
]  # fmt: skip


def test_what_was_never_written_shows_the_same(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        for at, (dtype, value) in enumerate(FILLS):
            for shape in ((3,), (2, 2)):
                dtype = np.dtype(dtype)
                value = np.array(value, dtype) if dtype.names else value
                f.create_dataset(f"x{at} {len(shape)}", shape, dtype, fillvalue=value)
    assert kist.convert(tmp_path / "a.h5", tmp_path / "a.kist").notes[0].code == "hdf5.enum"
    assert kist.convert(tmp_path / "a.kist", tmp_path / "b.h5").ok
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        for name in a:
            assert b[name].fillvalue == a[name].fillvalue and b[name].dtype == a[name].dtype


def test_a_fill_value_that_hdf5_cannot_have_is_told(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        dtypes = {"i": "i4", "t": np.dtypes.StringDType(na_object=None)}
        store.create_table("t", dtype=dtypes, fill_value={"i": 5})
        store.create_table("u", dtype="i4,i4", fill_value={"f0": 5})
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.h5")
    assert [(n.code, n.places) for n in report.notes] == [("hdf5.fill", ["/t"])]
    kist.convert(tmp_path / "a.h5", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        assert store["u"]["f0"].fill_value == 5 and store["u"]["f1"].fill_value is None


def test_values_that_fit_their_type_no_more_get_that_of_h5py(tmp_path: Path) -> None:
    everything(tmp_path / "a.h5")
    kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist", "r+") as store:
        for name in TYPES:
            for node in store[name].values():
                facts = node.attrs.get("HDF5", {})
                known = facts.get("attribute_type", {})
                node.attrs.update({key: np.arange(5.0) for key in known})
                if "type" in facts and node.kind == "array":
                    new = store.create_array(f"new/{name}{node.name}", np.zeros((1, 2), "f4,i8"))
                    new.attrs["HDF5"] = facts
        store["new"].attrs["HDF5"] = {"attribute_type": {"x": {"class": "list"}}, "types": [1]}
        store["new"].attrs["x"] = 5
    kist.convert(f"{tmp_path / 'a.kist'}:new", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as b:
        assert b.attrs["x"] == 5
        assert b["text 2 1/text 2 1/x1"].dtype == "f4,i8"
