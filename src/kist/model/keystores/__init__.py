"""Key stores: values of any plain type by key, in the order of the keys.

- What users touch: `keystore`.
- What is stored: `values` (a value as a record or as a bundle of pages).
- One verb each: `write`, `read`, `open`, `scan`, `check`.
- How they look: `repr`.
- Sealed as a whole: `sealed` (entries, parts of the digest), `sealedstore` (the handle).
"""
