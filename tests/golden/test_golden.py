"""Files of format version 1 as once written: each still shows what the JSON beside it says."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine.pages import page_head
from kist.format import keys
from kist.format.layout import COMMIT_CHANGES, COMMIT_ROOT
from kist.format.values import unpack_record

# docs/format.md, "Stage 17: blosc2"
BLOSC2, LZ4, ZSTD = 17, 1, 5

FOLDER = Path(__file__).resolve().parent
NAMES = [
    "altered",
    "arrays",
    "attributes",
    "blocks",
    "categories",
    "changed",
    "codecs",
    "dtypes",
    "empty",
    "folded",
    "indexes",
    "keystore",
    "links",
    "log",
    "nullable",
    "ragged",
    "ragged_nulls",
    "ragged_text",
    "relaxed",
    "string_columns",
    "strings",
    "versions",
]


def load(name: str) -> ModuleType:
    # pytest imports tests without putting their folder on the path.
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


content = load("content")


def golden(name: str) -> tuple[Path, dict[str, Any]]:
    """Path and JSON of a golden file; both must be there."""
    return FOLDER / f"{name}.kist", json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def described(store: kist.Store) -> Any:
    # Through text, so that both sides have passed it.
    return json.loads(content.dumps(content.describe(content.content_of(store))))


def test_no_golden_file_is_missing_and_none_is_forgotten() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.kist")) == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_is_the_one_that_its_page_describes(name: str) -> None:
    path, page = golden(name)
    data = path.read_bytes()
    assert page["file"] == path.name
    assert len(data) == page["bytes"] < 420_000
    assert hashlib.sha256(data).hexdigest() == page["sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_shows_what_its_page_says(name: str) -> None:
    path, page = golden(name)
    with kist.open(path) as store:
        assert store.uuid.hex() == page["uuid"]
        assert store.format_version == page["format_version"]
        assert store.commit_id == page["commit"]
        assert store._session.engine.commit == page["newest_record"]
        assert described(store) == page["root"]
        assert dict(store.tags) == {tag: entry["commit"] for tag, entry in page["tags"].items()}
        assert store.check().ok, store.check()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == page["sha256"], "reading changed it"


def test_tagged_versions_show_what_their_page_says() -> None:
    path, page = golden("versions")
    assert len(page["tags"]) == 3
    for tag, entry in page["tags"].items():
        for version in (tag, entry["commit"]):
            with kist.open(path, version=version) as store:
                assert described(store) == entry["root"]


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_of_a_golden_file_can_be_written_to(name: str, path: Path) -> None:
    source, page = golden(name)
    shutil.copyfile(source, path)
    with kist.open(path, "r+") as store:
        before = described(store)
        assert before == page["root"]
        store["new/table"] = np.zeros(10, "i4,f8")
        for node in list(store.values()):
            if node.kind == "table" and len(node):
                given = [name for name in node.columns if node[name].expression is None]
                rows = node if len(given) == len(node.columns) else node[given]
                node.append(rows[:1])
        assert store.compact() >= 0
    with kist.open(path) as store:
        assert store.check().ok, store.check()
        assert len(store["new/table"]) == 10


def records_of(path: Path) -> tuple[set[bytes], set[tuple[int, bytes]]]:
    """Kinds of keys in the map of a file; ids of the stages of its pages, with those of blosc2."""
    kinds, stages = set(), set()
    with kist.open(path) as store, store._session.engine.snapshot() as view:
        for key, value in view.scan(bytes(8), b"\xff" * 8):
            kinds.add(keys.kind_of(key))
            if keys.kind_of(key) == b"P":
                for pointer in unpack_record(value)[0]:
                    for number, parameters in page_head(view, pointer).stages:
                        stages.add((number, parameters[:2] if number == BLOSC2 else b""))
    return kinds, stages


def test_the_golden_files_hold_every_kind_of_record_and_of_stage() -> None:
    kinds, stages = set(), set()
    for name in NAMES:
        some_kinds, some_stages = records_of(FOLDER / f"{name}.kist")
        kinds |= some_kinds
        stages |= some_stages
    assert b"".join(sorted(kinds)) == b"ABCDFGIKLNPQSTUVXYZ"
    assert {number for number, _ in stages} == {1, 2, 3, 4, 5, 6, 7, 16, BLOSC2, 18, 19, 20, 21}
    compressors = {(parameters[0], parameters[1]) for _, parameters in stages if parameters}
    assert compressors == {(c, f) for c in (LZ4, ZSTD) for f in (0, 1, 2)}


def test_the_golden_files_end_in_logs_of_every_form() -> None:
    kinds, checkpoints = {}, {}
    for name in NAMES:
        with kist.open(FOLDER / f"{name}.kist") as store:
            engine = store._session.engine
            kinds[name] = {record.kind for record in engine.chain.seen}
            checkpoints[name] = max(slot.checkpoint for slot in engine.slots if slot)
    assert kinds["empty"] == set()
    assert kinds["log"] == kinds["relaxed"] == {COMMIT_CHANGES}, "nothing but changes"
    assert checkpoints["log"] == checkpoints["relaxed"] == 2, "the slots of a new store"
    assert checkpoints["folded"] > 4, "both halves of the log were used again"
    assert any(COMMIT_ROOT in found for found in kinds.values())


def test_a_relaxed_log_lists_what_recovery_has_to_verify() -> None:
    with kist.open(FOLDER / "relaxed.kist") as store:
        seen = store._session.engine.chain.seen
        assert any(record.verify for record in seen)
        assert any(record.position % 4096 for record in seen), "records stand side by side"
