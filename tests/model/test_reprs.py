"""Reprs: what they say, that they are safe to show, read little and never raise."""

from __future__ import annotations

import html.parser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kist
from kist.model import html as blocks
from kist.model.preview import Preview, ends
from kist.model.text import shorten, visible, width

HOSTILE = "<script>alert('1')<\\b>&amp;\"\x1b[31m\n"
ROWS = np.array([(1, (2.5, [1, 2])), (3, (4.0, [4, 5]))], [("<b>", "i4"), ("n", "f8,(2,)i2")])
VOID = {"br", "img", "hr", "meta", "input"}


class Checker(html.parser.HTMLParser):
    """Raises for elements that are not closed in order, and gathers the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.words = ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        assert {name for name, _ in attrs} <= {"class", "open", "colspan"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words += data + " "


def check_html(value: Any) -> str:
    """Check the HTML repr of a value and return its words."""
    checker = Checker(value._repr_html_())
    assert checker.seen <= {
        "div", "span", "code", "style", "table", "thead", "tbody", "tr", "th", "td", "details",
        "summary", "ul", "li", "br", "pre",
    }  # fmt: skip
    return " ".join(checker.words.split())


def handles(store: kist.Store) -> list[Any]:
    """One handle of each kind that has a repr."""
    group = store["g"]
    table = group["t"]
    return [
        store, group, table, table["n"], table["<b>"], table["n.f0"], table[["n", "<b>"]],
        table.where("n.f0 > x", x=3), table.where("n.f0 > 3")["n"], table.attrs, store.attrs,
        table["n"].attrs,
    ]  # fmt: skip


@pytest.fixture
def file(path: Path) -> Path:
    with kist.open(path, "w") as store:
        store["g/t"] = ROWS
        for node in (store, store["g"], store["g/t"]):
            node.title = HOSTILE
            node.attrs[HOSTILE] = HOSTILE
        store["g/t"]["n"].attrs["TITLE"] = HOSTILE
        store[HOSTILE.replace("/", "")] = ROWS
        store["long"] = np.rec.fromarrays([np.arange(200_000), np.arange(200_000) / 2], names="x,y")
        store.tag("v1")
    return path


def test_hostile_texts_are_escaped_in_html_and_written_out_in_text(file: Path) -> None:
    with kist.open(file) as store, store.transaction() if store.mode != "r" else store.read():
        told = [store.tree(), store["g/t"].info, store.info, store.history(), *handles(store)]
        for value in told:
            words = check_html(value)
            assert words
            text = repr(value)
            assert visible(text.replace("\n", "")) == text.replace("\n", "")
        for node in (store, store["g"], store["g/t"], store["g/t"]["n"]):
            assert "<script>alert('1')" in check_html(node)
            assert visible(HOSTILE)[:20] in repr(node)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_gives_html_that_says_it(name: str, value: str) -> None:
    source = blocks.document(
        blocks.heading(name, value, name),
        blocks.table([["", name]], [["1", value], None], 1),
        blocks.details(blocks.text(name), blocks.facts({name: value, "inner": {name: name}})),
    )
    assert visible(value).strip() in Checker(source).words


@given(st.text(max_size=40), st.integers(3, 20))
def test_shortened_text_fits_and_begins_the_same(text: str, most: int) -> None:
    short = shorten(visible(text), most)
    assert width(short) <= most
    assert short == visible(text) or visible(text).startswith(short[:-3])


@given(st.integers(0, 50), st.integers(0, 1 << 26))
def test_the_ends_are_rows_from_both_sides(n: int, row_nbytes: int) -> None:
    rows = ends(n, row_nbytes)
    assert rows == sorted(set(rows))
    assert all(0 <= row < n for row in rows)
    assert len(rows) in (n, len(rows) // 2 * 2)
    assert len(rows) * row_nbytes <= 4 << 20
    assert [n - 1 - row for row in reversed(rows)] == rows


def test_a_table_shows_first_and_last_rows_dtype_codec_and_ratio(file: Path) -> None:
    with kist.open(file) as store:
        table = store["long"]
        text = repr(table)
        assert "200,000 rows x 2 columns" in text
        for line in ("int64", "float64", "199,999", "99999.5", "0.0", "..."):
            assert line in text
            assert line in check_html(table) or line == "..."
        codec = next(line for line in text.splitlines() if line.startswith("codec"))
        assert len(codec.split()) > 2
        ratios = next(line for line in text.splitlines() if line.startswith("ratio")).split()
        assert ratios[1].endswith("x") and float(ratios[1][:-1].replace(",", "")) > 2
        assert len(text.splitlines()) == 16


def test_a_selection_shows_its_first_and_last_hits(file: Path) -> None:
    with kist.open(file) as store:
        hits = store["long"].where("x >= low", low=1000)
        for text in (repr(hits), check_html(hits)):
            assert "199,000 hits in 200,000 rows" in text
            assert "low=1000" in text and "500.0" in text and "99999.5" in text
        assert "0 hits" in repr(store["long"].where("x < 0"))


def test_a_selection_of_a_very_long_table_is_not_counted(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kist.model.tables.repr._SEARCHED_ROWS", 1000)
    with kist.open(file) as store:
        for hits in (store["long"].where("x >= 0"), store["long"].where("x >= 0")["y"]):
            assert "not counted" in repr(hits) and "not counted" in check_html(hits)
            assert "    4" in repr(hits)
        assert "0 hits" in repr(store["long"].where("x < 0"))


def test_the_ratio_of_a_very_long_table_is_a_sample(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kist.open(file) as store:
        exact = repr(store["long"])
        monkeypatch.setattr("kist.model.tables.show._COUNTED_PAGES", 1)
        about = repr(store["long"])
    assert "about " in about and "~" in about and "about" not in exact
    ratios = [
        float(
            next(x for x in text.splitlines() if x.startswith("ratio"))
            .split()[1]
            .strip("~x")
            .replace(",", "")
        )
        for text in (exact, about)
    ]
    assert ratios[1] == pytest.approx(ratios[0], rel=0.5)


def test_text_fits_a_terminal_whatever_the_columns() -> None:
    with kist.open(":memory:") as store:
        store["wide"] = np.zeros(100, [(f"column{i}", "f4") for i in range(300)])
        store["名前" * 20] = np.array([("漢字" * 30, b"x" * 99)], [("ü" * 90, "U99"), ("b", "S99")])
        for table in store.values():
            lines = repr(table).splitlines()
            assert max(map(width, lines[1:])) <= 80
            check_html(table)
        assert "more columns" in repr(store["wide"])
        assert "280 more" in check_html(store["wide"])


def test_a_preview_without_rows_is_whole() -> None:
    assert Preview([], 0).text() == ""
    Checker(Preview([], 0).html())


def test_read_handles_say_that_there_are_newer_commits(file: Path) -> None:
    with kist.open(file) as store:
        kinds = [store, store["g"], store["g/t"], store["g/t"]["n"], store["g/t"].where("n.f0>0")]
        with kist.open(file, "r+") as writer:
            writer.create_group("more")
            writer.create_group("still more")
        for handle in kinds:
            assert "2 newer commits: refresh() shows them" in repr(handle)
            assert "2 newer commits: refresh() shows them" in check_html(handle)
        store.refresh()
        for handle in kinds:
            assert "newer" not in repr(handle) + check_html(handle)


def test_reprs_of_closed_and_stale_handles_say_so(file: Path) -> None:
    with kist.open(file, "r+") as store:
        every = [h for h in handles(store) if h is not store and h is not store.attrs][:-1]
        stale = [h for h in every if "'/'" not in repr(h)]
        del store["g"]
        for handle in stale:
            assert "deleted or replaced" in repr(handle), handle
            assert "deleted or replaced" in check_html(handle)
            assert handle._ipython_key_completions_() == []
    for handle in [*every, store]:
        assert "closed" in repr(handle)
        assert "closed" in check_html(handle)
        assert handle._ipython_key_completions_() == []
    assert "title" not in dir(store["g"].attrs if not store.closed else every[-1])


def test_reprs_of_damaged_data_say_so_and_show_the_rest(path: Path) -> None:
    rng = np.random.default_rng(0)
    with kist.open(path, "w") as store:
        store["t"] = np.rec.fromarrays([rng.integers(0, 2**60, 70_000), np.arange(70_000)])
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1  # within the random column, which is nearly all of the file
    path.write_bytes(data)
    with kist.open(path) as store:
        table = store["t"]
        for handle in (table, table["f0"], table[["f0", "f1"]]):
            assert "(CorruptDataError)" in repr(handle) and "(CorruptDataError)" in check_html(
                handle
            )
        assert "69999" in repr(table)
        hits = table.where("f0 > 0")
        assert "checksum" in repr(hits) or "CorruptDataError" in repr(hits)
        check_html(hits)


def test_large_values_are_not_read_for_a_repr(path: Path) -> None:
    with kist.open(path, "w") as store:
        with store.transaction():
            store.attrs["LARGE"] = np.zeros(1 << 20)
            store.title = "x" * 200_000
            for at in range(80):
                store.attrs[f"a{at:02}"] = at
        store["rows"] = np.zeros(3, [("image", "u1", 5 << 20)])
        for text in (repr(store.attrs), check_html(store.attrs)):
            assert "8.0 MiB, not shown" in text and "195.3 KiB, not shown" in text
            assert "and 32 more" in text
        assert "xxx" not in repr(store) + repr(store.tree()) + check_html(store)
        assert len(repr(store["rows"])) < 1000
        assert len(check_html(store["rows"])) < 1000


def test_wide_stores_are_drawn_in_part() -> None:
    with kist.open(":memory:") as store:
        with store.transaction():
            for at in range(300):
                store.create_group(f"g{at:03}/h")
        assert "├── g009\n... and 291 more" in repr(store)
        words = check_html(store)
        assert "g099" in words and "g100" not in words and "and 201 more" in words
        assert str(store.tree()).count("── h") == 300
        assert "── h" not in str(store.tree(1))
        assert len(repr(store["g000"]).splitlines()) == 2


def test_a_tree_as_plain_values_has_every_node(file: Path) -> None:
    with kist.open(file) as store:
        found = store.tree().to_dict()
        assert found["name"] == "/" and found["kind"] == "group"
        by_name = {child["name"]: child for child in found["children"]}
        assert by_name["long"] == {
            "name": "long", "kind": "table", "title": None, "rows": 200_000, "columns": 2,
        }  # fmt: skip
        assert [child["name"] for child in by_name["g"]["children"]] == ["t"]
        assert "children" not in store.tree(0).to_dict()


def test_keys_are_completed(file: Path) -> None:
    with kist.open(file) as store:
        names = store._ipython_key_completions_()
        assert set(store) <= set(names) and "g/t" in names
        assert names.index("long") < names.index("g/t")
        table = store["g/t"]
        assert table._ipython_key_completions_() == ["<b>", "n", "n.f0", "n.f1"]
        assert table["n"]._ipython_key_completions_() == ["f0", "f1"]
        assert table["<b>"]._ipython_key_completions_() == []
        assert table[["n"]]._ipython_key_completions_() == ["n", "n.f0", "n.f1"]
        assert table.where("n.f0 > 0")[["<b>"]]._ipython_key_completions_() == ["<b>"]
        assert table.attrs._ipython_key_completions_() == sorted(["TITLE", HOSTILE])
        assert "TITLE" in dir(table.attrs) and HOSTILE not in dir(table.attrs)
        assert "n_rows" in dir(table.info)


def test_the_history_is_a_list_and_shows_a_table(file: Path) -> None:
    with kist.open(file, "r+", retain=100) as store:
        for at in range(60):
            with store.transaction(f"{HOSTILE} {at}"):
                store.attrs["n"] = at
        commits = store.history()
        assert isinstance(commits, list) and commits[0].id == store.commit_id
        text = repr(commits)
        assert text.splitlines()[0].split() == ["commit", "time", "(UTC)", "tags", "message"]
        assert "more" in text and len(text.splitlines()) == 52
        assert str(commits[0].id) in check_html(commits)
    assert repr(type(commits)()) == "no commits"


def test_a_key_store_shows_its_first_and_last_keys_with_their_values(path: Path) -> None:
    with kist.open(path, "w") as store:
        runs = store.create_keystore("runs", title=HOSTILE)
        assert "0 keys" in repr(runs) and "0 keys" in check_html(runs)
        runs.update({HOSTILE: HOSTILE, 7: (np.arange(1000.0), {"gain": 2}), b"raw": None})
        runs["large"] = {"x": np.zeros((1000, 200)), "text": "x" * 5000}
        runs["z"] = "y" * (1 << 20)
        for text in (repr(runs), check_html(runs)):
            assert visible(HOSTILE)[:20] in text
            assert "5 keys" in text and "array of 1,000 x 200 float64" in text
            assert "(array of 1,000 float64, {'gain': 2})" in text and "MiB, not shown" in text
        assert "\x1b" not in repr(runs) + runs._repr_html_()
        runs.update((at, at) for at in range(100, 200))
        for text in (repr(runs), check_html(runs)):
            assert "105 keys" in text and "103" in text and "104" not in text and "'z'" in text
        assert runs._ipython_key_completions_()[:2] == [7, 100]
        assert "key store of 105 keys" in str(store.tree())
        assert runs.info.n_keys == 105 and runs.info.first_key == 7
        check_html(runs.info)
        with kist.open(path) as reader:
            other = reader["runs"]
            runs["one more"] = 1
            assert "1 newer commit" in repr(other) and "1 newer commit" in check_html(other)
        del store["runs"]
        assert "deleted" in repr(runs) and "deleted" in check_html(runs)
        assert runs._ipython_key_completions_() == []
    assert "closed" in repr(runs) and "closed" in check_html(runs)


def test_a_damaged_value_of_a_key_store_does_not_hide_the_others(path: Path) -> None:
    secret = np.random.default_rng(0).bytes(5000)
    with kist.open(path, "w") as store:
        runs = store.create_keystore("runs", codec="none")
        runs["a"] = [secret, np.zeros(3)]
        runs["b"] = [1, 2]
    data = path.read_bytes()
    at = data.find(secret[1000:1100])
    assert at > 0
    path.write_bytes(data[:at] + b"?" + data[at + 1 :])
    with kist.open(path) as store:
        for text in (repr(store["runs"]), check_html(store["runs"])):
            assert "(CorruptDataError)" in text and "[1, 2]" in text


def test_strings_of_any_length_are_shown_in_part() -> None:
    dtype = np.dtypes.StringDType(na_object=None)
    with kist.open(":memory:") as store:
        words = np.array([HOSTILE, None, "y" * 100_000], dtype)
        table = store.create_table("t", {"a": np.arange(3), "s": words})
        for handle in (table, table["s"], table.where("a >= 0")):
            for text in (repr(handle), check_html(handle)):
                assert visible(HOSTILE)[:10] in text and "None" in text and "yyy..." in text
                assert len(text) < 2000


def test_an_array_shows_what_it_is_and_its_corners(path: Path) -> None:
    values = (np.arange(40 * 300 * 200) % 251).astype("u2").reshape(40, 300, 200)
    with kist.open(path, "w") as store:
        image = store.create_array("image", values, chunks=(8, 100, 200), title=HOSTILE)
        image.attrs["camera"] = HOSTILE
        for text in (repr(image), check_html(image)):
            assert visible(HOSTILE)[:20] in text
            assert "40 x 300 x 200 uint16" in text and "chunks 8 x 100 x 200" in text
            assert "4.6 MiB in " in text and "x)" in text and "zstd" in text
            assert "..." in text and "200 201 202 ... 146 147 148" in text
            assert len(text.splitlines()) < 20
        assert "array of 40 x 300 x 200 uint16" in str(store.tree())
        with kist.open(path) as reader:
            other = reader["image"]
            image[0] = 1
            assert "1 newer commit" in repr(other) and "1 newer commit" in check_html(other)
        del store["image"]
        assert "deleted" in repr(image) and "deleted" in check_html(image)
    assert "closed" in repr(image) and "closed" in check_html(image)


@pytest.mark.parametrize(
    "values",
    [
        np.float32(3.5), np.zeros((0, 4)), np.arange(7), np.array([[HOSTILE, "<b>"]]),
        np.array([[(1, 2.5)]], "i4,f8"), np.array(["<b>", "\x1b"], np.dtypes.StringDType()),
        np.zeros((2,) * 12), np.array("2026", "M8[Y]"),
    ],
    ids=lambda v: f"{v.dtype}{v.shape}"[:20],
)  # fmt: skip
def test_any_array_has_a_repr(values: Any) -> None:
    with kist.open(":memory:") as store:
        store["x"] = values
        text = repr(store["x"])
        assert text.startswith("<kist.Array '/x', ") and "\x1b" not in text
        assert "Error" not in text + check_html(store["x"])
        check_html(store["x"].info)


def test_a_huge_array_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kist.model.arrays.show._COUNTED", 3)
    with kist.open(":memory:") as store:
        huge = store.create_array("huge", shape=(10**9, 10**6), dtype="f8")
        assert "7,276.0 TiB in memory" in repr(huge)
        assert "nothing stored" in repr(huge)
        store["x"] = np.random.default_rng(0).random(600_000)
        assert "more than" in repr(store["x"])
        store.create_array("items", shape=(3, 3), dtype="V8000000")
        assert len(repr(store["items"])) < 500


def test_damaged_elements_of_an_array_do_not_hide_what_it_is(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["x"] = np.random.default_rng(0).random((300, 1000))
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 4, len(data) * 3 // 4, 1000):
        data[at] ^= 1
    path.write_bytes(data)
    with kist.open(path) as store:
        for text in (repr(store["x"]), check_html(store["x"])):
            assert "300 x 1,000 float64" in text and "CorruptDataError" in text
