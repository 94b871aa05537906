"""Parquet files, and Arrow's own: one table each, read and written batch by batch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Final

from kist.bridges.base import BLOCK_ROWS, PART_BYTES, Bridge, Job
from kist.bridges.columns import LOSSES
from kist.bridges.columns_in import read_table
from kist.bridges.columns_out import outgoing
from kist.bridges.report import Loss
from kist.errors import ConversionError, CorruptDataError
from kist.extras import need

__all__ = ["ArrowFile", "Parquet"]

_GROUP_BYTES: Final = 64 << 20
"""Raw bytes of a row group that is written."""
_BUFFER: Final = 1 << 20
_WHOLE: Final = 4 * PART_BYTES
"""Record batches of up to so many bytes are read as a whole."""


class Parquet(Bridge):
    """Parquet files. Options: ``columns`` and ``dtypes`` to read, ``compression`` to write."""

    name: ClassVar[str] = "parquet"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES

    def read(self, job: Job, source: str) -> None:
        pa = need("pyarrow", "arrow", f"convert {source}")
        parquet: Any = need("pyarrow.parquet", "arrow", f"convert {source}")
        columns = job.option("columns")
        with (
            job.reading(source),
            # Not by a map, as everywhere: a file that gets shorter would end the process.
            parquet.ParquetFile(source, buffer_size=_BUFFER) as file,
        ):
            schema = file.schema_arrow
            if columns is not None:
                schema = pa.schema([schema.field(name) for name in columns], schema.metadata)

            rows = _rows_at_once(file.metadata)

            def batches(names: Any = columns) -> Iterable[Any]:
                found: Iterable[Any] = file.iter_batches(rows, columns=names)
                return found

            read_table(
                job,
                source,
                job.base,
                lambda: (schema, batches()),
                alone=lambda name: batches([name]),
                dtypes=job.option("dtypes"),
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
    """Arrow files and streams, Feather. Options: ``dtypes`` to read, ``compression`` to write."""

    name: ClassVar[str] = "arrow"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES

    def read(self, job: Job, source: str) -> None:
        pa = need("pyarrow", "arrow", f"convert {source}")
        with contextlib.ExitStack() as files, job.reading(source):
            with open(source, "rb") as file:
                head = file.read(6)
            if head[:4] == b"FEA1":
                raise ConversionError(
                    f"{source}: Feather of version 1; write it again with version 2"
                )

            large = _largest(pa, source, head) > _WHOLE
            open_data = pa.memory_map if large else pa.OSFile
            copied = partial(_copies, pa, source) if large else iter

            def opened() -> tuple[Any, Iterable[Any]]:
                # A file of its own for each reader: streams are read from where they stand.
                data = files.enter_context(open_data(source))
                if head != b"ARROW1":
                    stream = pa.ipc.open_stream(data)
                    return stream.schema, copied(stream)
                file = pa.ipc.open_file(data)
                found = (file.get_batch(k) for k in range(file.num_record_batches))
                return file.schema, copied(found)

            def alone(name: str) -> Iterable[Any]:
                schema, batches = opened()
                at = schema.get_field_index(name)
                return (batch.select([at]) for batch in batches)

            dtypes = job.option("dtypes")
            read_table(job, source, job.base, opened, alone=alone, dtypes=dtypes)

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


def _largest(pa: Any, source: str, head: bytes) -> int:
    """Return the bytes of the largest record batch of a file or stream, without reading them."""
    largest = 0
    with pa.memory_map(source) as data:
        data.seek(8 if head == b"ARROW1" else 0)
        with contextlib.suppress(StopIteration, pa.ArrowInvalid, OSError):
            messages = pa.ipc.MessageReader.open_stream(data)
            while True:
                body = messages.read_next_message().body
                largest = max(largest, 0 if body is None else body.size)
    return largest


def _copies(pa: Any, source: str, batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the rows of mapped batches in memory of their own, while the file is as long as it was.

    Raises
    ------
    CorruptDataError
        It has become shorter; looking at what was mapped would end the process.
    """
    size = os.path.getsize(source)
    for batch in batches:
        rows = max(1, PART_BYTES * batch.num_rows // max(1, batch.nbytes))
        for start in range(0, batch.num_rows, rows):
            if os.path.getsize(source) < size:
                raise CorruptDataError(f"{source}: was made shorter while it was read")
            kept = pa.BufferOutputStream()
            with pa.ipc.new_stream(kept, batch.schema) as writer:
                writer.write_batch(batch.slice(start, rows))
            yield pa.ipc.open_stream(kept.getvalue()).read_next_batch()


def _need_table(node: Any, name: str) -> None:
    if node.kind != "table":
        raise ConversionError(f"{node.name!r} ({node.kind}): {name} files hold one table each")


def _rows_at_once(metadata: Any) -> int:
    """Return how many rows are read at once: whole row groups of a table, if memory allows."""
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    width = max((g.total_byte_size // max(1, g.num_rows) for g in groups), default=0)
    return int(max(1, min(2 * BLOCK_ROWS, 4 * PART_BYTES // max(1, width))))


def _groups(batches: Iterator[Any]) -> Iterator[list[Any]]:
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if sum(part.nbytes for part in group) >= _GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group
