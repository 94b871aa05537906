"""CSV, SQLite and JSON of others, through the tools that Python brings, into tables and queries."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

# CSV: bird strikes

STRIKES = {
    "Airport Name": "U38",
    "Aircraft Make Model": "U18",
    "Effect Amount of damage": "U11",
    "Flight Date": "M8[D]",
    "Origin State": "U14",
    "Wildlife Size": "U6",
    "Wildlife Species": "S21",
    "Cost Total $": "i8",
    "Speed IAS in knots": "f4",
}
COLUMNS = np.dtype(
    [(name.split(" in ")[0].lower().strip(" $").replace(" ", "_"), code)
     for name, code in STRIKES.items()]
)  # fmt: skip


def strikes(path: Path) -> Iterator[tuple[Any, ...]]:
    """Rows as tuples of text and numbers; a missing speed is nan."""
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            found: list[Any] = [row[name] for name in STRIKES]
            found[-2] = int(found[-2])
            found[-1] = float(found[-1] or "nan")
            yield tuple(found)


def test_a_csv_file_is_read_in_blocks_and_queried(path: Path, shared_data: Path) -> None:
    source = shared_data / "birdstrikes.csv"
    rows = np.array(list(strikes(source)), COLUMNS)
    with kist.open(path, "x", durability="relaxed") as store:
        table = store.create_table("strikes", strikes(source), dtype=COLUMNS)
        assert len(table) == 10_000
        assert table[:].tobytes() == rows.tobytes()
        assert table.columns[-2:] == ("cost_total", "speed_ias")
        assert table.ratio > 5

        hits = table.where("(origin_state == 'Louisiana') & (cost_total > 0)")
        mask = (rows["origin_state"] == "Louisiana") & (rows["cost_total"] > 0)
        assert 0 < hits.count() == mask.sum()
        assert hits["cost_total"].sum() == rows["cost_total"][mask].sum()

        vultures = table.where("wildlife_species == 'Turkey vulture'")
        assert vultures.count() == (rows["wildlife_species"] == b"Turkey vulture").sum() > 0

        year = np.datetime64("1995-01-01"), np.datetime64("1996-01-01")
        dates = table.where("(flight_date >= a) & (flight_date < b)", a=year[0], b=year[1])
        mask = (rows["flight_date"] >= year[0]) & (rows["flight_date"] < year[1])
        assert 0 < dates.count() == mask.sum()

        known = table.where("speed_ias == speed_ias")
        assert known.count() == 10_000 - 2836
        np.testing.assert_allclose(known["speed_ias"].mean(), np.nanmean(rows["speed_ias"]))

        free = table.where("cost_total == 0")
        expected = int((rows["cost_total"] == 0).sum())
        assert free.delete() == expected
        assert len(table) == 10_000 - expected
        assert table[:].tobytes() == rows[rows["cost_total"] != 0].tobytes()


# SQLite: a shop


LINES = np.dtype([("id", "i8"), ("invoice", "i4"), ("track", "i4"), ("price", "f8"), ("n", "i2")])
INVOICES = np.dtype([("id", "i8"), ("customer", "i4"), ("date", "M8[s]"), ("city", "U40"),
                     ("total", "f8")])  # fmt: skip
TRACKS = np.dtype([("id", "i8"), ("name", "U200"), ("composer", "U220"), ("ms", "i4"),
                   ("bytes", "i8")])  # fmt: skip


def test_a_database_becomes_tables_that_answer_the_same(path: Path, shared_data: Path) -> None:
    uri = f"file:{shared_data / 'chinook.sqlite'}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as base, kist.open(path, "x") as store:

        def sql(text: str, *values: Any) -> Any:
            return base.execute(text, values)

        with store.transaction("import"):  # all of it, or nothing
            store.create_table("shop/lines", sql("select * from InvoiceLine"), dtype=LINES)
            store.create_table(
                "shop/invoices",
                sql(
                    "select InvoiceId, CustomerId, replace(InvoiceDate, ' ', 'T'), "
                    "coalesce(BillingCity, ''), Total from Invoice"
                ),
                dtype=INVOICES,
            )
            store.create_table(
                "shop/tracks",
                sql("select TrackId, Name, coalesce(Composer, ''), Milliseconds, Bytes from Track"),
                dtype=TRACKS,
            )
        shop = store["shop"]
        for name, n in {"lines": 2240, "invoices": 412, "tracks": 3503}.items():
            assert len(shop[name]) == n

        (long,) = sql("select count(*) from Track where Milliseconds > 300000").fetchone()
        assert shop["tracks"].where("ms > 300_000").count() == long
        (total,) = sql("select sum(Total) from Invoice where BillingCity = 'Berlin'").fetchone()
        assert shop["invoices"].where("city == 'Berlin'")["total"].sum() == pytest.approx(total)
        late = np.datetime64("2012-01-01")
        (n,) = sql("select count(*) from Invoice where InvoiceDate >= '2012-01-01'").fetchone()
        assert shop["invoices"].where("date >= late", late=late).count() == n

        # One invoice with its lines: two tables, one snapshot.
        with store.read():
            invoice = int(shop["invoices"].where("total == t", t=25.86)["id"][0])
            lines = shop["lines"].where("invoice == i", i=invoice)
            assert (lines["price"][:] * lines["n"][:]).sum() == pytest.approx(25.86)
            names = shop["tracks"][np.isin(shop["tracks"]["id"][:], lines["track"][:])]["name"]
        expected = sql(
            "select Name from Track join InvoiceLine using (TrackId) where InvoiceId = ? "
            "order by TrackId",
            invoice,
        )
        assert list(names) == [name for (name,) in expected]
        assert store.check().ok


def test_a_null_is_named_and_the_whole_import_is_undone(path: Path, shared_data: Path) -> None:
    uri = f"file:{shared_data / 'chinook.sqlite'}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as base, kist.open(path, "x") as store:
        rows = base.execute("select EmployeeId, ReportsTo from Employee").fetchall()
        assert rows[0][1] is None
        with pytest.raises(kist.DTypeError, match="reports_to") as caught, store.transaction():
            store.create_table("genres", base.execute("select GenreId from Genre"), dtype="i4,")
            store.create_table("employees", rows, dtype=[("id", "i4"), ("reports_to", "i4")])
        assert caught.value.column == "reports_to"
        assert caught.value.row == 0
        assert list(store) == []


# JSON: earthquakes, nested, with nulls

QUAKES = np.dtype(
    [
        ("id", "S12"),
        ("time", "M8[ms]"),
        ("mag", "f4"),
        ("place", "U80"),
        ("tsunami", "?"),
        ("where", [("lon", "f8"), ("lat", "f8"), ("depth", "f8")]),
        ("sig", "i4"),
        ("net", "S2"),
    ]
)


def quake(feature: dict[str, Any]) -> dict[str, Any]:
    about = feature["properties"]
    mag = about["mag"]
    return {
        "net": about["net"],
        "sig": about["sig"],
        "where": tuple(feature["geometry"]["coordinates"]),
        "tsunami": bool(about["tsunami"]),
        "place": about["place"],
        "mag": float("nan") if mag is None else mag,
        "time": np.datetime64(about["time"], "ms"),
        "id": feature["id"],
    }


def test_documents_are_appended_one_by_one_by_name(path: Path, shared_data: Path) -> None:
    features = json.loads((shared_data / "earthquakes.json").read_text("utf-8"))["features"]
    rows = np.zeros(len(features), QUAKES)
    for at, feature in enumerate(features):
        found = quake(feature)
        rows[at] = tuple(found[name] for name in QUAKES.names or ())
    with kist.open(path, "x") as store:
        table = store.create_table("quakes", dtype=QUAKES)
        with table.appender(rows=400) as add:
            for feature in features:
                add(quake(feature))
        assert len(table) == 1707
        assert table[:].tobytes() == rows.tobytes()
        assert table["where.lat"][:].tobytes() == rows["where"]["lat"].tobytes()
        assert table["where"]["depth"].max() == rows["where"]["depth"].max()

        strong = table.where("(mag >= 4.5) & (where.depth < 100)")
        mask = (rows["mag"] >= np.float32(4.5)) & (rows["where"]["depth"] < 100)
        assert 0 < strong.count() == mask.sum()
        assert strong[:].tobytes() == rows[mask].tobytes()
        newest = table[np.argsort(rows["time"])[-3:]]
        assert newest["time"].max() == rows["time"].max()

        with pytest.raises(kist.DTypeError, match="mag"):
            table.append({**quake(features[0]), "mag": None})
        missing = quake(features[0])
        del missing["place"]
        with pytest.raises(kist.DTypeError, match="place"):
            table.append(missing)
        assert len(table) == 1707
