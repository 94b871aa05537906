"""Files with sealed columns on the command line, and on their way to other formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("cryptography")

import kist
from kist.cli.main import cli

KEY, PHRASE = bytes(range(32)), "four random words here"


@pytest.fixture
def file(path: Path) -> Path:
    rows = np.array([(1, b"Ann", 2.5), (2, b"Bob", 3.5)], "i4,S3,f8")
    with kist.open(path, "w") as store:
        store.create_table("t", rows, encrypt={"f1": {"key": KEY, "words": PHRASE}})
    return path


def run(
    *words: object, env: dict[str, str] | None = None, text: str | None = None
) -> tuple[int, str]:
    done = CliRunner().invoke(cli, [str(word) for word in words], env=env, input=text)
    return done.exit_code, done.output


VERBS = {
    "where": ["where", "{}:t", "f1 == 'Bob'"],
    "cat": ["cat", "{}:t"],
    "head": ["head", "{}:t"],
    "tail": ["tail", "{}:t"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("how", ["hex", "words", "file", "prompt"])
def test_verbs_take_secrets_from_environment_file_and_terminal(
    file: Path, tmp_path: Path, verb: str, how: str
) -> None:
    words = [word.format(file) for word in VERBS[verb]]
    code, said = run(*words)
    assert code == 2 and "column 'f1' is sealed" in said
    if how in ("hex", "words"):
        code, said = run(
            *words, env={"KIST_SECRET": f"hex:{KEY.hex()}" if how == "hex" else PHRASE}
        )
    elif how == "file":
        secrets = tmp_path / "secrets.txt"
        secrets.write_text(f"# of the ward\n\nhex:{bytes(32).hex()}\nhex:{KEY.hex()}\n")
        code, said = run("--secret-file", secrets, *words)
    else:
        code, said = run("--secret-file", "-", *words, text=PHRASE + "\n")
    assert code == 0, said
    assert "Bob" in said


def test_what_is_open_is_shown_without_a_secret(file: Path) -> None:
    assert run("where", f"{file}:t", "f0 == 2", "--columns", "f0,f2") == (0, "f0\tf2\n2\t3.5\n")
    assert "key, words" in run("info", f"{file}:t")[1].partition("sealed")[2]
    with kist.open(file) as store:
        assert store["t"]["f1"].info["sealed"] == ["key", "words"]
        assert "sealed" not in store["t"]["f0"].info
    code, said = run("check", file)
    assert code == 0 and "tags were not checked" in said
    assert "not checked" not in run("check", file, env={"KIST_SECRET": PHRASE})[1]


def test_a_secret_that_is_none_is_not_shown(file: Path, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("hex:feedbeef\n")
    code, said = run("--secret-file", tmp_path / "s", "cat", f"{file}:t")
    assert code == 2 and "line 1" in said and "64 digits" in said and "feedbeef" not in said
    (tmp_path / "s").write_text("# nothing\n")
    assert "holds no secret" in run("--secret-file", tmp_path / "s", "cat", f"{file}:t")[1]


def test_other_formats_get_sealed_columns_only_when_that_is_meant(
    file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.csv"
    with pytest.raises(kist.SecretError, match=r"would hold their values in clear"):
        kist.convert(f"{file}:t", out, secrets=KEY)
    with pytest.raises(kist.SecretError, match="no secret was given"):
        kist.convert(f"{file}:t", out, decrypt=True)
    assert not out.exists()
    kist.convert(f"{file}:t", out, secrets=KEY, decrypt=True)
    assert "Ann" in out.read_text()
    code, said = run("convert", f"{file}:t", tmp_path / "u.csv", env={"KIST_SECRET": PHRASE})
    assert code == 2 and "--decrypt" in said
    code, said = run(
        "convert", f"{file}:t", tmp_path / "u.csv", "--decrypt", env={"KIST_SECRET": PHRASE}
    )
    assert code == 0 and "Bob" in (tmp_path / "u.csv").read_text()
    # From store to store it stays sealed.
    kist.convert(f"{file}:t", f"{tmp_path / 'new.kist'}:u", secrets=KEY)
    assert b"Ann" not in (tmp_path / "new.kist").read_bytes()
    with kist.open(tmp_path / "new.kist", secrets=PHRASE) as store:
        assert store["u"]["f1"][:].tolist() == [b"Ann", b"Bob"]


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    with kist.open(tmp_path / "ward.kist", "w") as store:
        store.create_group("g", encrypt=KEY, attrs={"head": "Dr. No"})
    return tmp_path / "ward.kist"


@pytest.fixture
def clear(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text("name,dose\nAnnabel,2.5\nBobolink,3.5\n")
    return tmp_path / "in.csv"


@pytest.mark.parametrize("name", ["whole.kist", "whole"])
def test_files_come_into_a_sealed_store(clear: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    with kist.open(file, "w", encrypt=KEY):
        pass
    for resume in (False, True):
        with pytest.raises(kist.SecretError, match="the whole file is sealed"):
            kist.convert(clear, f"{file}:t", resume=resume)
    kist.convert(clear, f"{file}:t", secrets=[KEY])
    kist.convert(clear, f"{file}:u", secrets={"/": KEY}, resume=True)
    code, said = run("convert", clear, f"{file}:v", env={"KIST_SECRET": f"hex:{KEY.hex()}"})
    assert code == 0, said
    assert b"Annabel" not in file.read_bytes()
    with kist.open(file, secrets=KEY) as store:
        assert [list(store[name]["name"][:]) for name in "tuv"] == [["Annabel", "Bobolink"]] * 3


def test_files_come_into_a_sealed_group(ward: Path, clear: Path) -> None:
    with pytest.raises(kist.SecretError, match="no secret was given"):
        kist.convert(clear, f"{ward}:g/t")
    with pytest.raises(kist.SecretError, match="resume keeps notes"):
        kist.convert(clear, f"{ward}:g/t", secrets=KEY, resume=True)
    kist.convert(clear, f"{ward}:g/t", secrets={"g": KEY})
    code, said = run("convert", clear, f"{ward}:g/u", env={"KIST_SECRET": f"hex:{KEY.hex()}"})
    assert code == 0, said
    assert b"Annabel" not in ward.read_bytes()
    with kist.open(ward, secrets=KEY) as store:
        assert list(store["g/t"]["name"][:]) == list(store["g/u"]["name"][:])


def test_a_new_store_is_not_made_in_clear_where_a_sealed_one_was_named(
    clear: Path, tmp_path: Path
) -> None:
    for resume in (False, True):
        with pytest.raises(kist.SecretError, match="there is no store"):
            kist.convert(clear, f"{tmp_path}/gone.kist:t", secrets={"/": KEY}, resume=resume)
        assert not list(tmp_path.glob("*gone*"))


def test_a_store_comes_into_a_sealed_one(file: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.kist"
    with kist.open(whole, "w", encrypt=KEY):
        pass
    kist.convert(f"{file}:t", f"{whole}:t", secrets=[KEY])
    with kist.open(whole, secrets=KEY) as store:
        assert store["t"]["f1"][:].tolist() == [b"Ann", b"Bob"]
    with pytest.raises(kist.SecretError, match="the whole file is sealed"):
        kist.convert(f"{file}:t", f"{whole}:u", secrets={"t/f1": KEY})  # the source's


def test_info_says_that_attributes_are_sealed(ward: Path) -> None:
    code, said = run("info", f"{ward}:g")
    assert code == 0 and "their secret was not given" in said and "head" not in said
    code, said = run("info", f"{ward}:g", env={"KIST_SECRET": f"hex:{KEY.hex()}"})
    assert code == 0 and "Dr. No" in said


def test_a_file_of_raw_bytes_is_no_file_of_secrets(file: Path, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(bytes(range(128, 160)))
    code, said = run("--secret-file", tmp_path / "s", "cat", f"{file}:t")
    assert code == 2 and "holds no text" in said and "64 digits" in said


def test_sealed_tables_are_split_and_merged_with_the_secrets(file: Path, tmp_path: Path) -> None:
    parts = str(tmp_path / "p-{}.kist")
    code, shown = run("split", f"{file}:t", "--rows", 1, "-o", parts)
    assert code and "all of its secrets" in shown and not list(tmp_path.glob("p-*"))
    env = {"KIST_SECRET": PHRASE}
    code, shown = run("split", f"{file}:t", "--rows", 1, "-o", parts, env=env)
    assert not code, shown
    names, whole = sorted(tmp_path.glob("p-*")), tmp_path / "m.kist"
    assert run("merge", *names, "-o", whole)[0] and not whole.exists()
    assert not run("merge", *names, "-o", whole, env=env)[0]
    with kist.open(whole, secrets=KEY) as store:
        assert store["t"]["f1"][:].tolist() == [b"Ann", b"Bob"]


def test_errors_say_how_secrets_are_given_here(file: Path) -> None:
    found = CliRunner().invoke(cli, ["cat", f"{file}:t"])
    assert found.exit_code == 2
    assert "--secret-file FILE before the verb, or KIST_SECRET" in found.output
    assert "kist.open" not in found.output


def test_a_copy_that_fails_leaves_no_file_and_sealed_targets_take_secrets(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, whole = tmp_path / "new.kist", tmp_path / "whole.kist"
    assert CliRunner().invoke(cli, ["copy", f"{file}:t", str(new)]).exit_code == 2
    assert not new.exists()
    kist.open(new, "x").close()
    assert CliRunner().invoke(cli, ["copy", f"{file}:t", str(new)]).exit_code == 2
    assert new.exists()  # it was there before
    monkeypatch.setenv("KIST_SECRET", f"hex:{KEY.hex()}")
    kist.open(whole, "x", encrypt=KEY).close()
    for target in (new, whole):
        found = CliRunner().invoke(cli, ["copy", f"{file}:t", f"{target}:copied"])
        assert found.exit_code == 0, found.output
        with kist.open(target, secrets=KEY) as store:
            assert len(store["copied"]) and store.check().ok


def test_a_sealed_store_is_split_and_merged_into_sealed_ones(tmp_path: Path) -> None:
    file, out = tmp_path / "sealed.kist", tmp_path / "all.kist"
    with kist.open(file, "x", encrypt=KEY) as store:
        store["secret/x"] = np.arange(10)
    env = {"KIST_SECRET": f"hex:{KEY.hex()}"}
    split = ["split", f"{file}:secret/x", "--parts", "2", "-o", tmp_path / "p-{}"]
    code, said = run(*split, env=env)
    assert code == 2 and "with encrypt=" in said
    code, said = run("split", f"{file}:secret/x", "--parts", "2", "--encrypt", env=env)
    assert code == 2 and "out= with {} in it" in said
    code, said = run(*split, "--encrypt")
    assert code == 2 and sorted(tmp_path.iterdir()) == [file]
    code, said = run(*split, "--encrypt", env=env)
    parts = [tmp_path / "p-0001", tmp_path / "p-0002"]
    assert code == 0 and all(part.exists() for part in parts)
    code, said = run("merge", *parts, "-o", out, "--encrypt")
    assert code == 2 and "--encrypt takes secrets" in said and not out.exists()
    code, said = run("merge", *parts, "-o", out, "--encrypt", env=env)
    assert code == 0
    with kist.open(out, secrets={"/": KEY}) as store:
        assert store["secret/x"][:].tolist() == list(range(10))


def test_a_file_of_secrets_that_is_not_there_is_named(file: Path, tmp_path: Path) -> None:
    for missing in (tmp_path / "none", tmp_path):
        code, said = run("--secret-file", missing, "cat", f"{file}:t")
        assert code == 2 and f"--secret-file {missing}: " in said and "Errno" not in said


def test_what_stands_in_a_sealed_group_is_split_and_merged(tmp_path: Path) -> None:
    one, secrets = tmp_path / "a.kist", tmp_path / "secrets.txt"
    secrets.write_text(f"hex:{KEY.hex()}\n")
    with kist.open(one, "w") as store:
        store.create_group("ward", encrypt=KEY)["t"] = np.arange(8).view([("a", "i8")])
    code, said = run("split", f"{one}:ward/t", "--parts", 2, "--out", tmp_path / "p-{}.kist")
    assert code == 2 and "the group '/ward' is sealed" in said
    with_them = ("--secret-file", secrets)
    code, said = run(
        *with_them, "split", f"{one}:ward/t", "--parts", 2, "--out", tmp_path / "p-{}.kist"
    )
    assert code == 0, said
    parts = sorted(tmp_path.glob("p-*.kist"))
    code, said = run(*with_them, "merge", *parts, "--out", tmp_path / "m.kist")
    assert code == 0, said
    with kist.open(tmp_path / "m.kist", secrets={"ward": KEY}) as store:
        assert store["ward/t"]["a"][:].tolist() == list(range(8))
