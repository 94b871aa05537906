"""Make the vectors of sealed bodies and locks anew: `python tests/golden/sealed/make.py`.

Random bytes come from a counter while they are made, so the files change with the format only. One
file for each way in which a body or a lock can be wrong; `README.md` says what stands in them.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import warnings
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kist.crypto.aead import Units
from kist.crypto.derive import expand
from kist.crypto.hidden import Hidden
from kist.crypto.secret import Secret
from kist.engine.fieldkeys import add_secret, make_lock, remove_secret, rotate
from kist.engine.sealed import DataKey, seal_body
from kist.format.checksum import sum64
from kist.format.sealed import SEALED_HEAD, SLOT_HEAD, SealedHead, pack_sums

FOLDER = Path(__file__).resolve().parent
NAME, OTHER = bytes(range(16)), bytes(range(16, 32))
KEY, OTHER_KEY = bytes(range(100, 132)), bytes(range(150, 182))
RAW, RAW_2 = bytes(range(32)), bytes(range(32, 64))
PASSPHRASE = "four random words cafe\u0301"
UNIT = 12
TEXT = b"".join(struct.pack("<I", i * i) for i in range(1500))  # two units of 4 KiB


@contextmanager
def counted() -> Iterator[None]:
    """Let the system's random bytes be those of a counter."""
    n = 0

    def urandom(size: int) -> bytes:
        nonlocal n
        n += 1
        return hashlib.shake_128(n.to_bytes(4, "little")).digest(size)

    real, os.urandom = os.urandom, urandom
    try:
        yield
    finally:
        os.urandom = real


def put(name: str, about: str, expect: str, **content: object) -> None:
    page = {"about": about, "expect": expect, **content}
    text = json.dumps(page, indent=1, ensure_ascii=True) + "\n"
    (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


def body(name: str, about: str, expect: str, data: bytes, plain: bytes = TEXT) -> None:
    content = {"keys": {NAME.hex(): KEY.hex()}, "body": b64encode(data).decode()}
    if expect == "plain":
        content["sha256"] = hashlib.sha256(plain).hexdigest()
    put(name, about, expect, **content)


def summed(data: bytes) -> bytes:
    """The sums of the units made anew, as a careful attacker does."""
    fields = SEALED_HEAD.unpack(data)
    step, length = 1 << fields["unit"], fields["length"]
    n = max(1, -(-length // step))
    at = SEALED_HEAD.size + 8 * n
    sums = [
        sum64(data[at + i * (step + 16) : min(at + (i + 1) * (step + 16), len(data))])
        for i in range(n)
    ]
    return data[: SEALED_HEAD.size] + struct.pack(f"<{n}Q", *sums) + data[at:]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def field(data: bytes, name: str, value: bytes) -> bytes:
    at = SEALED_HEAD.offset(name)
    return data[:at] + value + data[at + len(value) :]


def bodies() -> None:
    key = DataKey(NAME, Hidden(KEY))

    def sealed(plain: bytes, which: DataKey = key, unit: int = UNIT) -> bytes:
        """A body of version 1, which kist does not write any more, but in sealed stores."""
        head = SealedHead(unit, len(plain), which.name, os.urandom(32))
        out = memoryview(bytearray(head.total - head.size))
        body_key = expand(which.key, b"kist 1 body", head.salt)
        Units.under(body_key, head.pack()).seal(1 << unit, memoryview(plain), out)
        step = (1 << unit) + 16
        sums = pack_sums([out[at : at + step] for at in range(0, len(out), step)])
        return head.pack() + sums + bytes(out)

    for n in (0, 1, 4095, 4096, 4097):
        body(f"body-{n}", f"{n} bytes in units of 4 KiB", "plain", sealed(TEXT[:n]), TEXT[:n])
    body("body-whole", "6,000 bytes in units of 32 KiB", "plain", sealed(TEXT, unit=15))
    good = sealed(TEXT)
    body("body-units", "6,000 bytes in two units", "plain", good)
    first = SEALED_HEAD.size + 16
    step = 4096 + 16
    body("flipped-bit", "a bit of unit 1, the sum as it was", "damage", flipped(good, first + step))
    changed = {
        "flipped-bit-summed": ("a bit of unit 1, sums anew", flipped(good, first + step + 9)),
        "flipped-tag": ("a bit of the last tag, sums anew", flipped(good, len(good) - 1)),
        "other-salt": ("another salt in the head", field(good, "salt", bytes(32))),
        "other-key": ("it names a data key that is not given", field(good, "key", OTHER)),
        "other-body": (
            "unit 0 of another body of the same key",
            good[:first] + sealed(TEXT[::-1])[first : first + step] + good[first + step :],
        ),
        "shorter": (
            "one byte less than was sealed, in head and in unit",
            field(good, "length", struct.pack("<Q", len(TEXT) - 1))[:-1],
        ),
        "one-unit-less": (
            "unit 1 cut off, the length made to fit",
            field(good, "length", struct.pack("<Q", 4096))[: SEALED_HEAD.size]
            + bytes(8)
            + good[first : first + step],
        ),
        "emptied": (
            "no plaintext, and a tag of zeros",
            field(good, "length", bytes(8))[: SEALED_HEAD.size] + bytes(24),
        ),
        "wrong-key": (
            "sealed under another key of the same name",
            sealed(TEXT, DataKey(NAME, Hidden(OTHER_KEY))),
        ),
    }
    for name, (about, data) in changed.items():
        body(name, about, "tampered", summed(data))
    even = sealed(TEXT[:4096] + TEXT[:4096])
    swapped = even[:first] + even[first + step : first + 2 * step] + even[first : first + step]
    body("swapped-units", "units 0 and 1 in each other's place", "tampered", summed(swapped))
    # The same 8,192 bytes cut otherwise, which takes one tag less.
    cut = field(even, "unit", b"\x0d")[: SEALED_HEAD.size] + bytes(8) + even[first:-16]
    body("other-unit", "the size of a unit is another one", "tampered", summed(cut))
    refused = {
        "cut-off": ("the last byte is missing", good[:-1]),
        "too-long": ("a byte too many", good + b"\0"),
        "no-head": ("63 bytes of the head", good[:63]),
        "bad-magic": ("not a sealed body", b"XX" + good[2:]),
        "huge": ("2^60 bytes announced", field(good, "length", struct.pack("<Q", 1 << 60))),
        "small-unit": ("units of 1 byte", field(good, "unit", b"\0")),
        "huge-unit": ("units of 2^200 bytes", field(good, "unit", b"\xc8")),
    }
    for name, (about, data) in refused.items():
        body(name, about, "damage", data)
    body("later-version", "version 3", "unsupported", field(good, "version", b"\x03"))


def batches() -> None:
    key = DataKey(NAME, Hidden(KEY))

    def sealed(plain: bytes, which: DataKey = key, unit: int = UNIT) -> bytes:
        head, units = seal_body(which, [plain], unit)
        return head + units

    good, next_one = sealed(TEXT), sealed(TEXT[::-1])
    body("batch-units", "the first body of a batch, in two units", "plain", good)
    body("batch-next", "the second body of the batch", "plain", next_one, TEXT[::-1])
    body("batch-empty", "no bytes", "plain", sealed(b""), b"")
    body("batch-whole", "6,000 bytes in units of 32 KiB", "plain", sealed(TEXT, unit=15))
    first, step = SEALED_HEAD.size + 16, 4096 + 16
    salt, own = SEALED_HEAD.offset("salt"), SEALED_HEAD.offset("salt") + 24
    even = sealed(TEXT[:4096] + TEXT[:4096])
    changed = {
        "batch-flipped-bit": ("a bit of unit 1, sums anew", flipped(good, first + step + 9)),
        "batch-other-common": ("another common part of the salt", flipped(good, salt + 3)),
        "batch-other-count": ("it says that it is the second body", flipped(good, own)),
        "batch-other-random": ("another random part of the nonce", flipped(good, own + 5)),
        "batch-other-body": (
            "unit 0 of the second body of the batch",
            good[:first] + next_one[first : first + step] + good[first + step :],
        ),
        "batch-other-head": (
            "the units of the second body under the head of the first",
            good[:first] + next_one[first:],
        ),
        "batch-swapped-units": (
            "units 0 and 1 in each other's place",
            even[:first] + even[first + step : first + 2 * step] + even[first : first + step],
        ),
        "batch-version": ("it says version 1", field(good, "version", b"\x01")),
        "alone-version": (
            "of version 1, and says 2",
            field(b64decode(_stored("body-units")), "version", b"\x02"),
        ),
        "batch-wrong-key": (
            "sealed under another key of the same name",
            sealed(TEXT, DataKey(NAME, Hidden(OTHER_KEY))),
        ),
    }
    for name, (about, data) in changed.items():
        body(name, about, "tampered", summed(data))
    body("batch-cut-off", "the last byte is missing", "damage", good[:-1])


def _stored(name: str) -> str:
    found: str = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["body"]
    return found


def lock(name: str, about: str, expect: str, data: bytes, secret: object, **keys: object) -> None:
    given = {"raw": secret.hex()} if isinstance(secret, bytes) else {"passphrase": secret}
    put(name, about, expect, secret=given, lock=b64encode(data).decode(), **keys)


def resummed(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """The first slot changed, its sum made anew."""
    at = 36
    (n,) = struct.unpack_from("<H", data, at)
    slot = bytearray(data[at + 2 : at + 2 + n - 8])
    change(slot)
    return data[: at + 2] + slot + struct.pack("<Q", sum64(slot)) + data[at + 2 + n :]


def locks() -> None:
    made, keys = make_lock({"office": Secret(RAW), "safe": Secret(PASSPHRASE)})
    data = made.pack()
    opened = {
        "keys": {key.hex(): value.reveal().hex() for key, value in keys.data.items()},
    }
    lock("lock-raw", "opened by a raw key", "opens", data, RAW, **opened)
    lock("lock-passphrase", "opened by a passphrase", "opens", data, PASSPHRASE, **opened)
    composed = "four random words caf\u00e9"
    lock("lock-composed", "the same, typed on another system", "opens", data, composed, **opened)
    lock("lock-wrong-key", "another raw key", "wrong secret", data, RAW_2)
    lock("lock-wrong-passphrase", "another passphrase", "wrong secret", data, "four random words")
    two, more = rotate(made, keys)
    opened = {"keys": {key.hex(): value.reveal().hex() for key, value in more.data.items()}}
    lock("lock-rotated", "two data keys, the last for writing", "opens", two.pack(), RAW, **opened)
    third = remove_secret(add_secret(two, more, "new", Secret(RAW_2)), "office")
    lock("lock-added", "a secret that was added", "opens", third.pack(), RAW_2, **opened)
    lock("lock-removed", "a secret that was removed", "wrong secret", third.pack(), RAW)
    single, _ = make_lock({"office": Secret(RAW)})
    alone = single.pack()
    lock("lock-flipped", "a bit of the only slot", "damage", flipped(alone, 80), RAW)
    lock("lock-cut-off", "a byte less", "damage", alone[:-1], RAW)
    lock("lock-no-slot", "no slot", "damage", alone[:1] + b"\0" + alone[2:], RAW)
    lock("lock-many-keys", "65,535 data keys", "damage", alone[:2] + b"\xff\xff" + alone[4:], RAW)

    def wrapped(slot: bytearray) -> None:
        slot[-1] ^= 1

    def label(slot: bytearray) -> None:
        slot[SLOT_HEAD.size + 3] ^= 1

    def kind(slot: bytearray) -> None:
        slot[0] = 77

    for name, change in (("wrapped", wrapped), ("label", label), ("kind", kind)):
        about = f"{name} of the only slot changed, its sum anew"
        lock(f"lock-other-{name}", about, "wrong secret", resummed(alone, change), RAW)
    lock("lock-other-ring", "a bit of the ring", "tampered", flipped(alone, len(alone) - 1), RAW)
    swapped = bytearray(two.pack())
    at = len(swapped) - 2 * 32 - 16 - 2 * 16
    swapped[at : at + 32] = swapped[at + 16 : at + 32] + swapped[at : at + 16]
    lock("lock-swapped-names", "names of two data keys changed over", "tampered", swapped, RAW)
    safe, _ = make_lock({"safe": Secret(PASSPHRASE)})
    for name, place, value, about in (
        ("n", 1, 40, "scrypt with n = 2^40"),
        ("cheap", 1, 4, "scrypt with n = 16"),
        ("r", 2, 255, "scrypt with r = 255"),
        ("p", 3, 0, "scrypt with p = 0"),
    ):

        def dear(slot: bytearray, place: int = place, value: int = value) -> None:
            slot[place] = value

        lock(f"lock-work-{name}", about, "damage", resummed(safe.pack(), dear), PASSPHRASE)


def make() -> None:
    for old in FOLDER.glob("*.json"):
        old.unlink()
    with counted(), warnings.catch_warnings():
        warnings.simplefilter("error")
        bodies()
        locks()
        batches()  # behind what was there before them, so that all that keeps its random bytes


if __name__ == "__main__":
    make()
