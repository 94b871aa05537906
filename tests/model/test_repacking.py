"""A store that is written anew holds what it held, with another codec if wanted."""

from __future__ import annotations

from pathlib import Path

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main
from kist.errors import CodecError
from kist.model.comparing import compare
from kist.model.repacking import repack


@pytest.fixture
def source(path: Path) -> kist.Store:
    with kist.open(path, "w") as store:
        store.attrs["camera"] = "B"
        rng = np.random.default_rng(0)
        n = 70_000
        columns = {
            "a": np.arange(n),
            "s": np.array(["x", "yy", "z" * 50], np.dtypes.StringDType())[np.arange(n) % 3],
            "v": rng.integers(0, 9, (n, 2)),
        }
        table = store.create_table("g/t", columns, title="rows", fill_value={"a": -1})
        table["a"].attrs["unit"] = "mm"
        table.append({"s": ["last"], "v": [[1, 2]]})
        table.where("a < 10").delete()
        store.create_array(
            "g/x", rng.normal(size=(300, 200)).round(2), chunks=(64, 64), fill_value=7.0
        )
        store.create_array("sparse", shape=(100, 3), dtype="i4", fill_value=5)[3] = 1
        store["zero"] = 3.5
        store["empty"] = np.zeros((0, 4))
        keys = store.create_keystore("k", attrs={"n": 1})
        keys.update({"a": np.arange(5000.0), 3: None, b"x": {"deep": [1]}})
        store.create_group("nothing").attrs["x"] = np.arange(3)
    return kist.open(path)


@pytest.mark.parametrize("codec", [None, "small", "none", "lz4+shuffle"])
def test_nothing_differs_but_the_codec(
    source: kist.Store, tmp_path: Path, codec: str | None
) -> None:
    with source, kist.open(tmp_path / "out.kist", "x") as target:
        repack(source, target, codec)
        assert list(compare(source, target)) == []
        assert target.check().ok
        assert len(target.history()) == 1
        table = target["g/t"]
        table.append({"s": ["more"], "v": [[0, 0]]})
        assert table[-1]["a"] == -1  # what rows leave out is still known
        if codec is not None:
            assert {c["codec"] for c in table.info["columns"].values()} == {codec}
            assert target["g/x"].chunks == (64, 64)


def test_the_codec_changes_what_is_stored(source: kist.Store, tmp_path: Path) -> None:
    sizes = {}
    with source:
        for codec in ("none", "small"):
            with kist.open(tmp_path / codec, "x") as target:
                repack(source, target, codec)
                sizes[codec] = target["g/t"].nbytes_stored, target["g/x"].nbytes_stored
    assert sizes["small"][0] < sizes["none"][0] / 3
    assert sizes["small"][1] < sizes["none"][1] / 2


def test_a_codec_that_there_is_not_leaves_nothing(source: kist.Store, tmp_path: Path) -> None:
    with source, kist.open(tmp_path / "out.kist", "x") as target:
        with pytest.raises(CodecError):
            repack(source, target, "nonsense")
        assert list(target) == []
    out = tmp_path / "cli.kist"
    for arguments, code in [(["--codec", "nonsense"], 2), (["--codec", "small"], 0), ([], 3)]:
        done = click.testing.CliRunner().invoke(
            main.cli, ["repack", source.path, str(out), *arguments]
        )
        assert done.exit_code == code, done.output
        assert out.exists() is (code != 2)
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []
    done = click.testing.CliRunner().invoke(main.cli, ["diff", source.path, str(out)])
    assert (done.exit_code, done.output) == (0, "")
