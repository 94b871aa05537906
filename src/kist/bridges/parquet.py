"""Parquet files, and Arrow's own: one table each, read and written batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

from kist.bridges.base import BLOCK_ROWS, Bridge, Job
from kist.bridges.columns import LOSSES, outgoing, read_table
from kist.bridges.report import Loss
from kist.errors import ConversionError
from kist.extras import need

__all__ = ["ArrowFile", "Parquet"]

_GROUP_BYTES: Final = 64 << 20
"""Raw bytes of a row group that is written."""


class Parquet(Bridge):
    """Parquet files. Options: ``columns`` to read, ``compression`` to write."""

    name: ClassVar[str] = "parquet"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES

    def read(self, job: Job, source: str) -> None:
        pa = need("pyarrow", "arrow", f"convert {source}")
        parquet: Any = need("pyarrow.parquet", "arrow", f"convert {source}")
        columns = job.option("columns")
        with job.reading(source), parquet.ParquetFile(source, memory_map=True) as file:
            schema = file.schema_arrow
            if columns is not None:
                schema = pa.schema([schema.field(name) for name in columns], schema.metadata)

            def batches(names: Any = columns) -> Iterable[Any]:
                found: Iterable[Any] = file.iter_batches(2 * BLOCK_ROWS, columns=names)
                return found

            read_table(
                job,
                source,
                job.base,
                lambda: (schema, batches()),
                widths=lambda name: _widest(batches([name])),
            )

    def write(self, job: Job, node: Any, target: str) -> None:
        pa = need("pyarrow", "arrow", f"convert {node.name}")
        parquet: Any = need("pyarrow.parquet", "arrow", f"convert {node.name}")
        _need_table(node, self.name)
        schema, batches = outgoing(job, pa, node)
        compression = job.option("compression", "zstd")
        with (
            job.writing(),
            open(target, "wb") as file,
            parquet.ParquetWriter(file, schema, compression=compression) as writer,
        ):
            for group in _groups(batches):
                writer.write_table(pa.Table.from_batches(group, schema))


class ArrowFile(Bridge):
    """Arrow files and streams, Feather. Option: ``compression`` to write."""

    name: ClassVar[str] = "arrow"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES

    def read(self, job: Job, source: str) -> None:
        pa = need("pyarrow", "arrow", f"convert {source}")
        with job.reading(source), pa.memory_map(source) as data:
            head = data.read(6)
            if head == b"FEA1\0\0" or head[:4] == b"FEA1":
                raise ConversionError(
                    f"{source}: Feather of version 1; write it again with version 2"
                )

            def opened() -> tuple[Any, Iterable[Any]]:
                data.seek(0)
                if head != b"ARROW1":
                    stream = pa.ipc.open_stream(data)
                    return stream.schema, stream
                file = pa.ipc.open_file(data)
                return file.schema, (file.get_batch(k) for k in range(file.num_record_batches))

            def widths(name: str) -> int:
                schema, batches = opened()
                at = schema.get_field_index(name)
                return _widest(batch.select([at]) for batch in batches)

            read_table(job, source, job.base, opened, widths=widths)

    def write(self, job: Job, node: Any, target: str) -> None:
        pa = need("pyarrow", "arrow", f"convert {node.name}")
        _need_table(node, self.name)
        schema, batches = outgoing(job, pa, node)
        options = pa.ipc.IpcWriteOptions(compression=job.option("compression", "lz4"))
        with (
            job.writing(),
            open(target, "wb") as file,
            pa.ipc.new_file(file, schema, options=options) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)


def _need_table(node: Any, name: str) -> None:
    if node.kind != "table":
        raise ConversionError(f"{node.name!r} is a {node.kind}; {name} files hold one table each")


def _widest(batches: Iterable[Any]) -> int:
    """Return the bytes of the longest value of batches of one column."""
    compute: Any = need("pyarrow.compute", "arrow", "")
    longest = 1
    for batch in batches:
        found = compute.max(compute.binary_length(batch.column(0))).as_py()
        longest = max(longest, found or 0)
    return longest


def _groups(batches: Iterator[Any]) -> Iterator[list[Any]]:
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if sum(part.nbytes for part in group) >= _GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group
