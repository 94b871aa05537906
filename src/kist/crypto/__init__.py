"""Sealing: keys that follow from secrets, keys that wrap keys, bytes sealed under a key.

Pure functions of bytes; which bytes stand where is said in `kist.format.sealed`, and the two meet
in `kist.engine.sealed`. Why so, and against whom: docs/design/0013-sealed-columns.md.

- `hidden`: `Hidden`, bytes that do not show themselves in a repr, a traceback or a pickle.
- `derive`: keys from keys (HKDF) and from passphrases (scrypt, with bounds on its cost).
- `secret`: what users give, `Secret`: a raw key, a passphrase, a key service.
- `aead`: AES-256-GCM: one key under another, a body in units.
- `batch`: which bodies share a key, and what is new to each (docs/design/0022).
- `digest`: `SetDigest`, the keyed digest of a set, changed item by item.

The ciphers come from the package `cryptography`, which the extra ``crypto`` brings and which is
loaded when the first key is used.
"""
