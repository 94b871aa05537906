"""``kist demo``: a small store, and five things to try with it."""

from __future__ import annotations

import click

from kist.cli.common import examples

__all__ = ["demo"]

_ROWS = 100_000

_TO_TRY = """\
Five things to try:

  kist tree {file}
  kist head {file} market/trades
  kist info {file} market/trades
  kist ls -l {file} market --at day-1
  python -c "import kist; t = kist.open('{file}')['market/trades']; \
print(t.where('price > 101.5')['size'].sum())"
"""


@click.command(epilog=examples("kist demo", "kist demo lab.kist"))
@click.argument("file", type=click.Path(), default="demo.kist")
def demo(file: str) -> None:
    """Make a small store at FILE, which must not exist, and name five things to try."""
    import numpy as np

    import kist

    rng = np.random.default_rng(1)
    trades = np.empty(
        _ROWS,
        dtype=[("time", "M8[ms]"), ("symbol", "S4"), ("price", "f8"), ("size", "i4")],
    )
    start = np.datetime64("2026-01-05T09:00", "ms")
    trades["time"] = start + np.cumsum(rng.integers(0, 500, _ROWS))
    trades["symbol"] = rng.choice(np.array([b"ABC", b"DEF", b"XYZ"]), _ROWS)
    trades["price"] = np.round(100 + np.cumsum(rng.normal(0, 0.005, _ROWS)), 2)
    trades["size"] = rng.geometric(0.02, _ROWS)

    half = _ROWS // 2
    with kist.open(file, "x") as store:
        with store.transaction("the first day"):
            table = store.create_table("market/trades", trades[:half], title="made-up trades")
            table.attrs["currency"] = "EUR"
            store["market"].attrs["opens"] = "09:00"
        store.tag("day-1")
        with store.transaction("the second day"):
            table.append(trades[half:])
        stored = store.info.total_bytes
    click.echo(
        f"{file}: {_ROWS:,} rows, {trades.nbytes / 1e6:.1f} MB in memory, {stored / 1e6:.1f} MB "
        "in the file, two versions.\n"
    )
    click.echo(_TO_TRY.format(file=file), nl=False)
