"""The reader that was written from the format page alone reads every golden file."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
READER = HERE.parents[1] / "contrib" / "reader"
GOLDEN = HERE.parent / "golden"
FILES = sorted(GOLDEN.glob("*.kist"))

sys.path.insert(0, str(READER))

import kist_json  # noqa: E402
import kist_reader  # noqa: E402
from kist_pages import Page  # noqa: E402
from kist_store import CHANGES, read_changes, sum128  # noqa: E402
from kist_types import Damage, KistError, Unknown  # noqa: E402

# One of these is enough to say what a value is.
CONTENT = {"hex", "sha256", "values", "first", "last"}


def expected(path: Path) -> dict[str, Any]:
    """The JSON beside a golden file."""
    result: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return result


def plain_hex(text: str) -> str:
    """Hex of an S value: zeros at the end do not count."""
    return bytes.fromhex(text).rstrip(b"\0").hex()


def bare(items: Any) -> Any:
    """The values of a leaf of dtype S, without zeros at the end."""
    return [bare(item) for item in items] if isinstance(items, list) else plain_hex(items)


def compare(want: Any, got: Any, where: str) -> None:
    """Assert that both say the same; *got* may have more of `CONTENT` than *want*."""
    if isinstance(want, dict) and isinstance(got, dict):
        assert set(want) - CONTENT == set(got) - CONTENT, where
        assert bool(set(want) & CONTENT) == bool(set(got) & CONTENT), where
        leaf = "path" in want and isinstance(want.get("dtype"), str)
        empty = leaf and want["dtype"][1:] in ("S0", "U0", "V0")
        for key in want:
            if empty and key in CONTENT:
                continue  # NumPy gives such items a byte on many ways
            a, b = want[key], got[key]
            if leaf and key in ("values", "first", "last") and want["dtype"][1] == "S":
                a, b = bare(a), bare(b)
            if key == "items" and want.get("type") in ("set", "frozenset"):
                remaining = list(b)
                assert len(a) == len(b), where
                for item in a:
                    found = [other for other in remaining if same(item, other)]
                    assert found, f"{where}: {item}"
                    remaining.remove(found[0])
                continue
            compare(a, b, f"{where}/{key}")
    elif isinstance(want, list) and isinstance(got, list):
        assert len(want) == len(got), where
        for i, (a, b) in enumerate(zip(want, got, strict=True)):
            compare(a, b, f"{where}[{i}]")
    else:
        assert (type(want), repr(want)) == (type(got), repr(got)), where


def same(want: Any, got: Any) -> bool:
    """Whether `compare` finds no difference."""
    try:
        compare(want, got, "")
    except AssertionError:
        return False
    return True


def test_golden_files_are_there() -> None:
    assert FILES, "no golden files: nothing was tested"
    assert {path.stem for path in FILES} == {path.stem for path in GOLDEN.glob("*.json")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_file(path: Path) -> None:
    want = expected(path)
    want.pop("about", None)
    with kist_reader.Reader(path) as reader:
        reader.verify()
        assert not reader.store.lost
        assert not any("damaged" in note for note in reader.store.notes)
        compare(want, kist_json.describe(reader, str(path), full=True), path.stem)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_damaged_slot_loses_nothing(path: Path, tmp_path: Path) -> None:
    want = expected(path)
    for offset in (0x1000, 0x2000):
        copy = flipped(path, tmp_path, offset + 50)
        with kist_reader.Reader(copy) as reader:
            reader.verify()
            assert any("slot" in note for note in reader.store.notes)
            got = kist_json.describe(reader, str(copy), full=True)
        for key in ("uuid", "newest_record", "commit", "tags", "root"):
            compare(want[key], got[key], f"{path.stem}/{key}")
    both = flipped(copy, tmp_path, 0x1000 + 50)
    with pytest.raises(Damage, match="slot"):
        kist_reader.Reader(both)


def flipped(path: Path, folder: Path, *offsets: int) -> Path:
    """A copy of a file with one bit of the bytes at *offsets* changed."""
    copy = folder / f"flipped-{len(list(folder.iterdir()))}.kist"
    shutil.copyfile(path, copy)
    with open(copy, "r+b") as file:
        for offset in offsets:
            file.seek(offset)
            (byte,) = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ 1]))
    return copy


def first_of(what: Callable[[kist_reader.Reader], int | None]) -> tuple[Path, int]:
    """The first golden file in which *what* finds an offset."""
    for path in FILES:
        with kist_reader.Reader(path) as reader:
            offset = what(reader)
        if offset is not None:
            return path, offset
    pytest.fail("no golden file has that")


def test_damaged_super_uses_the_copy(tmp_path: Path) -> None:
    path = flipped(FILES[0], tmp_path, 20)
    with kist_reader.Reader(path) as reader:
        assert any("super" in note for note in reader.store.notes)
    with pytest.raises(Damage, match="super"):
        kist_reader.Reader(flipped(path, tmp_path, 0x3000 + 20))


def test_unfinished_file(tmp_path: Path) -> None:
    for content in (b"", bytes(4096)):
        path = tmp_path / "unfinished.kist"
        path.write_bytes(content)
        with pytest.raises(KistError, match="not a finished store"):
            kist_reader.Reader(path)


def test_unknown_version_and_feature(tmp_path: Path) -> None:
    for offset, form in ((8, "<H"), (40, "<Q")):
        content = bytearray(FILES[0].read_bytes())
        struct.pack_into(form, content, offset, 2)
        content[88:104] = sum128(bytes(content[:88]))
        path = tmp_path / "unknown.kist"
        path.write_bytes(content)
        with pytest.raises(Unknown):
            kist_reader.Reader(path)


def test_damaged_tree_page(tmp_path: Path) -> None:
    def page(reader: kist_reader.Reader) -> int | None:
        pages = reader.store.tree_pages
        return pages[0].offset + 128 + pages[0].length // 2 if pages else None

    path, offset = first_of(page)
    with pytest.raises(Damage, match="sum of the frame"):
        kist_reader.Reader(flipped(path, tmp_path, offset))


def pages_of(reader: kist_reader.Reader) -> list[Any]:
    """Pointers to column pages that have stored bytes."""
    return [p for kind, p in reader.pointers() if kind == "P" and p.head < p.length]


def test_damaged_sector(tmp_path: Path) -> None:
    def sector(reader: kist_reader.Reader) -> int | None:
        found = pages_of(reader)
        return found[0].offset + 128 + found[0].length - 1 if found else None

    path, offset = first_of(sector)
    with (
        kist_reader.Reader(flipped(path, tmp_path, offset)) as reader,
        pytest.raises(Damage, match="sector"),
    ):
        reader.verify()


def test_damaged_second_sector(tmp_path: Path) -> None:
    def sector(reader: kist_reader.Reader) -> int | None:
        for pointer in pages_of(reader):
            page = Page(reader.store.body(pointer), pointer.head)
            if page.n_sectors > 1:
                return int(pointer.offset + 128 + pointer.head + page.ends[page.sector_blocks - 1])
        return None

    path, offset = first_of(sector)
    with (
        kist_reader.Reader(flipped(path, tmp_path, offset)) as reader,
        pytest.raises(Damage, match="sector 1"),
    ):
        reader.verify()


def test_damaged_page_head_and_frame_header(tmp_path: Path) -> None:
    def head(reader: kist_reader.Reader) -> int | None:
        found = pages_of(reader)
        return found[0].offset + 128 + 4 if found else None

    path, offset = first_of(head)
    for place in (offset, offset - 128):
        with (
            kist_reader.Reader(flipped(path, tmp_path, place)) as reader,
            pytest.raises(Damage, match="frame"),
        ):
            reader.verify()


def test_lost_record_is_said(tmp_path: Path) -> None:
    def record(reader: kist_reader.Reader) -> int | None:
        records, half = reader.store.records, reader.store.super.ring_half
        if len(records) < 3 or records[-1].horizon <= records[-3].commit:
            return None
        # The damaged one and the one behind it must lie in one half.
        places = {(item.position - 0x4000) // half for item in records[-3:]}
        return records[-2].position + 130 if len(places) == 1 else None

    path, offset = first_of(record)
    with kist_reader.Reader(path) as reader:
        newest = reader.store.commit
        assert not reader.store.lost
    with kist_reader.Reader(flipped(path, tmp_path, offset)) as reader:
        assert reader.store.commit == newest - 2
        assert reader.store.lost
        assert any("lost" in note for note in reader.store.notes)


def test_run_that_was_not_durable_ends_the_log(tmp_path: Path) -> None:
    def run(reader: kist_reader.Reader) -> int | None:
        for item in reader.store.records:
            if item.kind == CHANGES and item.commit > reader.store.highest:
                for offset, _, _ in read_changes(item.payload).verify:
                    return int(offset)
        return None

    path, offset = first_of(run)
    with kist_reader.Reader(path) as reader:
        first = next(
            item.commit
            for item in reader.store.records
            if item.kind == CHANGES
            and item.commit > reader.store.highest
            and any(start == offset for start, _, _ in read_changes(item.payload).verify)
        )
    with kist_reader.Reader(flipped(path, tmp_path, offset)) as reader:
        assert reader.store.commit == first - 1
        assert not reader.store.lost
        reader.verify()


def test_command_line(tmp_path: Path) -> None:
    program = [sys.executable, str(READER / "kist_reader.py")]
    for path in FILES[:2]:
        run = subprocess.run([*program, str(path), "--json"], capture_output=True, check=True)
        assert json.loads(run.stdout)["sha256"] == expected(path)["sha256"]
        subprocess.run([*program, str(path)], capture_output=True, check=True)
    run = subprocess.run([*program, str(HERE / "test_reader.py")], capture_output=True, check=False)
    assert run.returncode == 1 and b"no super is whole" in run.stderr


def test_imports_nothing_of_kist() -> None:
    for path in READER.glob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] != "kist", f"{path.name}: {line}"
