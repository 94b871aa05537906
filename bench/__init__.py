"""Benchmarks of kist beside other engines, each used as its own documentation recommends.

Modules, from data to report:

- ``workloads``: seeded tables, generated in blocks.
- ``records``: structured array <-> columns, and comparison bit for bit.
- ``engines``: one adapter per engine, and the limits of the machine.
- ``steps``: what is timed, and what is verified outside the timing.
- ``worker``: one engine, one round, in a process of its own.
- ``harness``: rounds over the engines in turn, and their medians.
- ``iocount``, ``small``: bytes and syncs of kist's small commits.
- ``targets``, ``machine``, ``report``: what must be reached, where it ran, and how it reads.

Run ``python -m bench --help`` from the top of the repository.
"""
