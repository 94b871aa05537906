"""Benchmarks of kist beside other engines, each used as its own documentation recommends.

Modules, from data to report:

- ``workloads``: seeded tables, generated in blocks.
- ``records``: structured array <-> columns, and comparison bit for bit.
- ``engines``: one adapter per engine of the archive, and the limits of the machine.
- ``archive``: what is timed of a table of 50 fields: reads, queries, changes.
- ``objects``: the other workloads: key stores, arrays, many datasets, strings, and more.
- ``steps``: timing, and verification outside the timing.
- ``worker``: one engine in one workload, once, in a process of its own.
- ``harness``: rounds over the engines in turn.
- ``results``: samples of all rounds, and ratios of paired rounds.
- ``iocount``, ``small``: bytes and syncs of kist's small commits.
- ``targets``, ``machine``, ``report``, ``plots``: what must be reached, and how a run reads.
- ``beyond``: many large tables in one file that may exceed memory; ``kinds``: nullable, categorical
  and text columns beside plain ones; ``peaks``: memory of large steps. Commands of their own.

Run ``python -m bench --help`` from the top of the repository.
"""
