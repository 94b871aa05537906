"""A backend in memory that remembers every write, sync and rename, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from kist.storage import FileBackend, MemoryBackend, MemoryFile, StorageBackend
from kist.storage.base import view_of

if TYPE_CHECKING:
    from kist.storage.base import Readable

__all__ = ["Event", "Recorder", "RecordingBackend", "recording_files"]

Kind = Literal["write", "resize", "sync", "failed sync", "rename", "directory sync", "note"]


class Event(NamedTuple):
    """One entry of a log.

    ``offset`` is that of a write, or the new length for a resize; ``data`` the bytes written;
    ``note`` what the program under test said, or for a
    rename the bytes that the name led to before, or None.
    """

    kind: Kind
    offset: int = 0
    data: bytes = b""
    note: Any = None


class Recorder:
    """A file in memory and the log of all that was done to it, through any number of backends.

    Parameters
    ----------
    initial : bytes-like
        What is on the disk when recording begins.
    """

    def __init__(self, initial: Readable = b"") -> None:
        self.initial = bytes(initial)
        self.file = MemoryFile(self.initial)
        self.log: list[Event] = []

    def backend(self, *, writable: bool = True) -> RecordingBackend:
        """Open the file once more."""
        return RecordingBackend(self, writable=writable)

    def note(self, note: Any) -> None:
        """Put a mark of the program under test into the log, such as an acknowledged state."""
        self.log.append(Event("note", note=note))

    def rename(self, before: bytes | None) -> None:
        """Log that the file got the name by which it is opened; until now it had another.

        Parameters
        ----------
        before : bytes or None
            Content of the file that had the name so far, durable; None when there was none.
        """
        self.log.append(Event("rename", note=before))


class _Logged(StorageBackend):
    """What is mixed into a backend to log its writes, resizes and syncs."""

    recorder: Recorder
    takes_threads = False  # a log has one order

    def write(self, offset: int, buffers: Sequence[Readable]) -> None:
        data = b"".join(view_of(buffer).tobytes() for buffer in buffers)
        super().write(offset, (data,))  # type: ignore[safe-super]
        if data:
            self.recorder.log.append(Event("write", offset, data))

    def resize(self, n: int) -> None:
        super().resize(n)  # type: ignore[safe-super]
        self.recorder.log.append(Event("resize", n))

    def sync(self) -> None:
        super().sync()  # type: ignore[safe-super]
        self.recorder.log.append(Event("sync"))

    def sync_directory(self) -> None:
        super().sync_directory()  # type: ignore[safe-super]
        self.recorder.log.append(Event("directory sync"))


class RecordingBackend(_Logged, MemoryBackend):
    """A `MemoryBackend` that logs writes, resizes and syncs.

    Parameters
    ----------
    recorder : Recorder, optional
        File and log to share with other backends; by default a new, empty one.
    """

    def __init__(self, recorder: Recorder | None = None, *, writable: bool = True) -> None:
        self.recorder = Recorder() if recorder is None else recorder
        super().__init__(self.recorder.file, writable=writable, name="recorded")

    @property
    def log(self) -> list[Event]:
        """What was done so far, in order."""
        return self.recorder.log

    def note(self, note: Any) -> None:
        """Put a mark of the program under test into the log."""
        self.recorder.note(note)

    def fail_sync(self) -> None:
        """Note that a sync failed: what was written before it may never reach the disk.

        Linux marks the pages of a failed sync clean, so a later sync succeeds without them.
        """
        self.log.append(Event("failed sync"))

    def kill(self) -> None:
        """End this backend as the death of its process would: locks gone, nothing flushed."""
        self.close()


def recording_files(recorder: Recorder) -> type[FileBackend]:
    """Return a `FileBackend` that logs what is done to real files, to put in its place."""

    class RecordingFile(_Logged, FileBackend):
        """A file whose writes, resizes and syncs are logged."""

    RecordingFile.recorder = recorder
    return RecordingFile
