"""Several processes on one file: they take turns, see whole commits, and may be killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kist.engine import Engine, View
from kist.format import keys
from kist.format.values import pack_record, unpack_record

NODE = 5

# Adds one to a counter in each transaction, and writes the same number into other records and
# into an extent: whoever sees them differ sees half a commit.
COUNTER = """
import random, sys
from kist.engine import Engine, Frame
from kist.format import keys
from kist.format.values import pack_record, unpack_record

path, steps, seed, durability = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
rng = random.Random(seed)
engine = Engine.open(path, "r+", durability=durability, timeout=60)
print("ready", flush=True)
done = 0
try:
    while done < steps:
        txn = engine.begin()
        try:
            value = txn.get(keys.group(5, 0))
            number = 1 + (int(unpack_record(value)[1]) if value else 0)
            blob = b"%d," % number * rng.choice((1, 100, 5000))
            (pointer,) = txn.write([Frame(b"BLOB", 5, 0, 1, blob)])
            txn.put(keys.group(5, 0), pack_record(b"%d" % number))
            txn.put(keys.group(5, 1), pack_record(b"%d" % number, [pointer]))
            if number % 7 == 0:
                for i in range(10, 300):
                    txn.put(keys.group(5, i), pack_record(b"%d" % number * 5))
            txn.commit()
        finally:
            txn.rollback()
        done += 1
        if rng.random() < 0.1:
            engine.checkpoint()
        if rng.random() < 0.1:
            engine.close()
            engine = Engine.open(path, "r+", durability=durability, timeout=60)
        print(number, flush=True)
finally:
    engine.close()
"""


def numbers(view: View) -> int:
    """The number that all records agree on."""
    found = []
    bulk = set()
    for key, value in view.scan(*keys.groups(NODE)):
        pointers, payload = unpack_record(value)
        if keys.row_of(key) < 10:
            found.append(int(payload))
        else:
            bulk.add(payload)
        for pointer in pointers:
            found += {int(n) for n in bytes(view.read(pointer)).split(b",") if n}
    assert len(set(found)) <= 1
    assert len(bulk) <= 1
    return found[0] if found else 0


def started(path: Path, steps: int, seed: int, durability: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COUNTER, str(path), str(steps), str(seed), durability]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def store(path: Path) -> Iterator[Path]:
    Engine.open(path, "a").close()
    yield path


def test_processes_that_write_in_turns_lose_no_step(store: Path) -> None:
    modes = ("full", "relaxed", "none")
    processes = [started(store, 40, seed, mode) for seed, mode in enumerate(modes)]
    reader = Engine.open(store, "r")
    pinned = reader.snapshot()
    before, newest = numbers(pinned), 0
    while any(process.poll() is None for process in processes):
        with reader.snapshot() as view:
            number = numbers(view)
        assert number >= newest
        newest = number
        assert numbers(pinned) == before
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert numbers(reader.newest()) == 120
    assert numbers(pinned) == before
    assert reader.check() == []
    reader.close()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_dies_anywhere_leaves_all_that_it_reported(
    store: Path, sent: signal.Signals
) -> None:
    rng = random.Random(int(sent))
    reached = 0
    for round_ in range(5):
        process = started(store, 10**6, round_, rng.choice(("full", "relaxed", "none")))
        time.sleep(rng.uniform(0.0, 0.15))
        process.send_signal(sent)
        try:
            output, errors = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            # Python itself loses a Ctrl-C that arrives within a weak reference's callback, and
            # prints "Exception ignored". Whoever sat there would press it again.
            process.send_signal(sent)
            output, errors = process.communicate(timeout=120)
        assert process.returncode != 0
        if sent == signal.SIGINT:
            assert "KeyboardInterrupt" in errors
        reported = [int(line) for line in output.split()]
        engine = Engine.open(store, "r+")
        number = numbers(engine.newest())
        # The last one may have been made and not yet been reported.
        assert number - max(reported, default=reached) in (0, 1), errors
        assert number >= reached
        reached = number
        txn = engine.begin(timeout=0)
        txn.put(keys.attribute(NODE, 0, "touched"), pack_record(b"%d" % round_))
        txn.commit()
        assert engine.check() == []
        engine.close()
    assert reached > 0
