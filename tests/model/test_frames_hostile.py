"""Notes of DataFrames in a hostile file lead pandas to no other file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.format import keys, layout
from kist.format.plain import pack_value
from kist.format.values import pack_record
from kist.testing.surgery import Image

pytest.importorskip("pandas")
pytest.importorskip("dateutil")
pytest.importorskip("pyarrow")

FILE = "/etc/passwd"
ZONES = [f"dateutil/{FILE}", f"x, dateutil/{FILE}", f"../../../..{FILE}", FILE]
DTYPES = [
    *[f"datetime64[ns, {zone}]" for zone in ZONES],
    *[f"interval[datetime64[ns, {zone}], right]" for zone in ZONES],
    *[f"timestamp[ns, tz={zone}][pyarrow]" for zone in ZONES],
]
NOTES: list[dict[str, Any]] = [
    *[{"zones": {"t": zone}} for zone in ZONES],
    *[{"pandas": {"dtypes": {"n": {"dtype": text}, "t": {"dtype": text}}}} for text in DTYPES],
    *[{"pandas": {"columns": {"dtype": text}}} for text in DTYPES],
]

# Audit hooks stay for ever, so in a process of its own.
READ = """
import contextlib, sys
import kist, pandas, pyarrow, dateutil.tz
from kist.errors import KistError
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
for path in sys.argv[1:]:
    with kist.open(path) as store:
        table = store["t"]
        for call in (table.to_pandas, table["t"].to_pandas, table["n"].to_pandas, table.to_arrow):
            found = None
            with contextlib.suppress(KistError):
                found = call()
            with contextlib.suppress(Exception):  # what others make of it, as long as no file is
                repr(found)
                getattr(found, "to_pandas", str)()
print([name for name in opened if "passwd" in name])
"""


def test_no_note_makes_pandas_open_a_file(path: Path) -> None:
    with kist.open(path, "w") as store:
        rows = np.zeros(3, [("t", "M8[ns]"), ("n", "i8")])
        node = store.create_table("t", rows)._id
    whole = path.read_bytes()
    paths = []
    for at, notes in enumerate(NOTES):
        image = Image(whole)
        put = [
            (layout.OP_PUT, keys.note(node, name), pack_record(pack_value(note)))
            for name, note in notes.items()
        ]
        image.add(put)
        image.pack_log()
        paths.append(path.with_name(f"{at}.kist"))
        paths[-1].write_bytes(image.data)
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


@pytest.mark.parametrize("odd", [np.zeros(3, "V0"), np.arange(3), [np.arange(2)], 5, {"n": 1}, "n"])
@pytest.mark.parametrize("change", [("drop_column", "n"), ("rename_column", "n", "m")])
def test_notes_of_other_kinds_do_not_stop_a_change_of_columns(
    path: Path, odd: Any, change: tuple[str, ...]
) -> None:
    with kist.open(path, "w") as store:
        node = store.create_table("t", np.zeros(3, [("t", "M8[ns]"), ("n", "i8")]))._id
    image = Image(path.read_bytes())
    note = {"index": {"levels": odd}, "columns": {"labels": odd}, "dtypes": odd}
    image.add([(layout.OP_PUT, keys.note(node, "pandas"), pack_record(pack_value(note)))])
    image.pack_log()
    path.write_bytes(image.data)
    with kist.open(path, "r+") as store:
        getattr(store["t"], change[0])(*change[1:])
        assert store["t"].colnames == (("t",) if len(change) == 2 else ("t", "m"))
