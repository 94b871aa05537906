"""What users do with sealed columns, arrays, key stores and whole stores, to be crashed.

``CASES`` is what ``python -m kist.testing.crash tests/crash/sealed_workloads.py`` runs: sealed
objects in open stores, and everything of api_workloads.py once more in stores that are sealed as a
whole. The tests beside this file run a share. Whoever opens a state looks first whether anything
that is sealed stands in the file in clear.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import api_workloads
import numpy as np
from api_workloads import died, noise
from crash_stores import OpenStore, case, probe, read_state, rows_of

from kist.crypto.secret import Secret
from kist.engine import creation
from kist.engine.keyring import Keyring
from kist.storage import MemoryBackend
from kist.testing.crash import Case, Session

FIRST, SECOND, THIRD = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))

WORD = b"telltale"
"""Value of sealed cells; nothing else of a store holds it."""


def secret_rows(n: int, seed: int) -> Any:
    """Rows of which ``price``, ``size`` and ``sym`` get sealed."""
    rows = rows_of(n, seed)
    rows["sym"][::2] = WORD
    return rows


class OpenHolder(OpenStore):
    """An open store, and the secrets of all that is sealed in it."""

    CLEAR: ClassVar[tuple[bytes, ...]] = (WORD,)
    ENCRYPT: ClassVar[Any] = None

    def __init__(self, backend: Any, mode: str, durability: Any = "full", retain: int = 0) -> None:
        data = backend.read(0, backend.size())
        assert not [word for word in self.CLEAR if word in data], "sealed values stand in clear"
        ring = Keyring([FIRST, SECOND, THIRD])
        super().__init__(backend, mode, durability, retain, keyring=ring, encrypt=self.ENCRYPT)


class OpenSealed(OpenHolder):
    """A store that is sealed as a whole."""

    # Shorter ones come by chance in so many images.
    CLEAR = (WORD, b"trades", b"price", b"table", b"probe", b"symbol")
    ENCRYPT: ClassVar[Any] = {"1": Secret(FIRST)}


@functools.cache
def empty_sealed() -> bytes:
    """A store without content that is sealed as a whole."""
    backend = MemoryBackend()
    creation.create(backend, {"1": Secret(FIRST)})
    return backend.read(0, backend.size())


# Sealed objects in open stores


def columns(session: Session) -> None:
    """A table of which three columns are sealed, by two secrets, through a long day."""
    store = session.engine.store
    table = store.create_table(
        "trades", secret_rows(3000, 1), encrypt={("price", "size"): FIRST, "sym": SECOND}
    )
    session.acknowledged()
    table.create_index("size")
    session.acknowledged()
    for i in range(14):
        table.append(secret_rows(10 + 300 * (i % 5 == 4), i))
        session.acknowledged()
        if i % 4 == 1:
            table["price"][i : i + 700 : 3] = i
            session.acknowledged()
            table.where("size == n", n=10 * i).update({"size": 5 + i, "flag": 3})
            session.acknowledged()
        if i % 4 == 2:
            table.delete(slice(i, 900, 7))
            session.acknowledged()
        if i % 5 == 3:
            session.engine.engine.checkpoint()  # folds
        if i == 3:
            table.rotate("sym", {"new": THIRD})  # for what is written from now on
            session.acknowledged()
            table.add_secret("price", SECOND, label="both")
            session.acknowledged()
        if i == 6:
            store.tag("kept")
            session.acknowledged()
            store.copy("trades", "copy")
            session.acknowledged()
        if i == 8:
            store = died(session)
            table = store["trades"]
            table.add_column("mark", 7, "u1")
            session.acknowledged()
            table.append({name: secret_rows(20, 9)[name] for name in secret_rows(1, 0).dtype.names})
            session.acknowledged()
            table.drop_column("mark")
            session.acknowledged()
        if i == 10:
            table.rotate(now=True)
            session.acknowledged()
            table.remove_secret("price", "both")
            session.acknowledged()
    store.untag("kept")
    session.acknowledged()
    del store["copy"]
    session.acknowledged()
    store.compact()
    session.acknowledged()
    table.delete(slice(None))
    session.acknowledged()


def arrays(session: Session) -> None:
    """Sealed arrays grown, shrunk, overwritten, moved and copied; their keys changed."""
    store = session.engine.store
    image = store.create_array(
        "image", noise(9000, 1).reshape(90, 100), chunks=(32, 64), fill_value=7, encrypt=FIRST
    )
    session.acknowledged()
    line = store.create_array("line", shape=(0, 3), dtype="<f8", chunks=(64, 3), encrypt=SECOND)
    session.acknowledged()
    for i in range(12):
        line.append(np.full((1 + 40 * (i % 3), 3), i / 7))
        session.acknowledged()
        if i % 3 == 1:
            image[i : i + 50, i::2] = i
            session.acknowledged()
        if i % 4 == 2:
            image.resize((90 - 5 * i, 80 + i))
            session.acknowledged()
            with store.transaction():
                image.resize((90, 100))
                image[-3:] = i
                line.resize((line.shape[0] - 1, 3))
            session.acknowledged()
        if i % 5 == 3:
            session.engine.engine.checkpoint()
        if i == 3:
            image.rotate({"new": THIRD})
            session.acknowledged()
            line.add_secret(FIRST, label="more")
            session.acknowledged()
        if i == 6:
            store = died(session)
            image, line = store["image"], store["line"]
            store.tag("kept")
            session.acknowledged()
            store.copy("image", "copy")
            session.acknowledged()
        if i == 8:
            line.rotate({"other": THIRD}, now=True)
            session.acknowledged()
            store.move("copy", "moved")
            session.acknowledged()
    del store["moved"]
    session.acknowledged()
    store.untag("kept")
    session.acknowledged()
    store.compact()
    session.acknowledged()
    store.create_array("line", noise(3000, 5), encrypt=FIRST, overwrite=True)
    session.acknowledged()


def key_stores(session: Session) -> None:
    """A sealed key store: keys put, replaced, removed, cleared, and sealed anew."""
    store = session.engine.store
    runs = store.create_keystore("runs", encrypt=FIRST)
    session.acknowledged()
    for i in range(20):
        key = (f"run {i % 5}", i % 4, b"bytes", "e\u0301")[i % 4]
        value = {"n": i, "data": noise((40, 3000, 30_000)[i % 3], i)}
        runs[key] = [value, WORD] if i % 2 else noise(9000, i)
        session.acknowledged()
        if i % 5 == 3:
            runs.update({n: [n, WORD] for n in range(i, i + 30)})
            session.acknowledged()
        if i % 5 == 4:
            runs.popitem()
            session.acknowledged()
        if i % 6 == 5:
            session.engine.engine.checkpoint()
        if i == 6:
            runs.rotate({"new": SECOND})
            session.acknowledged()
        if i == 9:
            store = died(session)
            runs = store["runs"]
            store.copy("runs", "copy")
            session.acknowledged()
        if i == 12:
            runs.rotate({"late": THIRD, "more": FIRST}, now=True)
            session.acknowledged()
            runs.remove_secret("more")
            session.acknowledged()
        if i == 15:
            with store.transaction():
                runs.clear()
                runs["last"] = WORD
            session.acknowledged()
    del store["copy"]
    session.acknowledged()
    store.compact()
    session.acknowledged()


# Whole stores


def whole_store(session: Session) -> None:
    """Secrets of a whole store come and go between changes of all kinds; it is sealed again."""
    store = session.engine.store
    store["trades"] = secret_rows(2000, 1)
    session.acknowledged()
    store["image"] = noise(40_000, 1)
    session.acknowledged()
    # Two layers: a column with a secret of its own.
    store.create_table("inner", secret_rows(200, 2), encrypt={"price": THIRD})
    session.acknowledged()
    store.rotate({"2": SECOND})
    for i in range(6):
        store["trades"].append(secret_rows(10, i))
        session.acknowledged()
        store["image"][1000 * i : 9000] = noise(9000 - 1000 * i, i)
        session.acknowledged()
        store["inner"]["price"][:5] = i
        session.acknowledged()
        if i == 1:
            store.add_secret(THIRD, label="3")
        if i == 2:
            store = died(session)
            store.remove_secret("2")
            store.tag("kept")
            session.acknowledged()
        if i == 4:
            store.untag("kept")
            session.acknowledged()
            store.rotate({"1": FIRST}, now=True)
    del store["image"]
    session.acknowledged()
    store.compact()
    session.acknowledged()
    store.rotate(now=True)
    store["trades"].append(secret_rows(3, 99))
    session.acknowledged()


def holders(workload: Callable[[Session], None], durability: str = "full") -> Case:
    """Return a case of sealed objects in an open store."""
    opener = functools.partial(OpenHolder, durability=durability)
    return Case(workload, read_state, opener, probe, durability)


def sealed(made: Case) -> Case:
    """Return the same case in a store that is sealed as a whole."""
    options = made.open_engine.keywords  # type: ignore[attr-defined]
    # `stages` of "change of retention" opens versions through the holder, too.
    return made._replace(open_engine=functools.partial(OpenSealed, **options))


OBJECTS: dict[str, Case] = {
    "sealed columns": holders(columns),
    "relaxed, sealed columns": holders(columns, "relaxed"),
    "sealed arrays": holders(arrays),
    "relaxed, sealed arrays": holders(arrays, "relaxed"),
    "sealed key stores": holders(key_stores),
    "none, sealed key stores": holders(key_stores, "none"),
}

WHOLE: dict[str, Case] = {
    **{f"sealed store, {name}": sealed(one) for name, one in api_workloads.CASES.items()},
    "sealed store, secrets, full": sealed(case(whole_store)),
    "sealed store, secrets, relaxed": sealed(case(whole_store, "relaxed")),
}

CASES: dict[str, Case] = OBJECTS | WHOLE
