"""The exception tree of kist: one root, grouped by what a caller would do next.

::

    KistError
    ├── FormatError         NotAStoreError, UnsupportedVersionError, CorruptDataError
    │                       restore or repair the file
    ├── StorageError        (also OSError) StoreNotFoundError (also FileNotFoundError),
    │                       StoreExistsError (also FileExistsError), StoreLockedError,
    │                       ReadOnlyError               fix the device, the path or the mode
    ├── TransactionError    ConflictError, TransactionClosedError, CommitUnknownError
    │                       begin again; reopen to learn the outcome
    ├── SnapshotError       SnapshotExpiredError, StaleHandleError,
    │                       StoreClosedError (also ValueError)
    │                       refresh, or tag what must stay
    ├── ConstraintError     rows that break a key, reference or check: mend the data
    ├── NodeError           NodeNotFoundError, ColumnNotFoundError, KeyNotFoundError
    │                       (also KeyError), NodeExistsError, NodeNameError (also ValueError),
    │                       LinkError (a NodeNotFoundError)
    │                       fix the path, the name or what the link leads to
    ├── SelectionError      (also IndexError)
    ├── DTypeError          (also TypeError)
    ├── ShapeError          (also ValueError)
    ├── QueryError          (also ValueError) points at the span in the text
    ├── TooLargeError       (also MemoryError)
    ├── CodecError          UnknownCodecError: install or choose another
    ├── ConversionError     what another format holds cannot come over as asked
    └── SecretError         WrongSecretError, TamperedDataError

    KistWarning
    ├── PerformanceWarning
    ├── WeakSecretWarning
    ├── MountWarning        one writer at a time, and no reuse of space; or a system never tried
    └── DamageWarning

Messages come first and everything else is optional, so that every error survives the
pickling that carries it from a worker process to its parent.
"""

from __future__ import annotations

from typing import Any


class KistError(Exception):
    """Root of every error that kist raises on purpose."""

    def __str__(self) -> str:
        # KeyError would put the message in quotes, OSError would print a tuple.
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError picks its class and arguments by its own rules; rebuild from message and state.
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))


def _rebuild(cls: type[KistError], args: tuple[Any, ...], state: dict[str, Any]) -> KistError:
    error = cls(*args)
    for name, value in state.items():
        setattr(error, name, value)
    return error


def call_by_name(error: BaseException, part: str, target: str) -> None:
    """Let an error speak of a file by the name that it was to get, not by the one it has till then.

    Whoever reads the message asked for `target`, and `part` is gone by then.
    """
    error.args = tuple(
        one.replace(part, target) if isinstance(one, str) else one for one in error.args
    )
    for name in ("filename", "filename2"):
        found = getattr(error, name, None)
        if isinstance(found, str) and part in found:
            setattr(error, name, found.replace(part, target))


class FormatError(KistError):
    """The bytes are not what the format says."""


class NotAStoreError(FormatError):
    """The path holds something that is not a kist file."""


class UnsupportedVersionError(FormatError):
    """The file needs a newer kist, or a feature that this one does not know."""


class CorruptDataError(FormatError):
    """Stored bytes fail their checksum or break the format.

    Attributes
    ----------
    offset : int or None
        Byte offset in the file.
    node : str or None
        Path of the node the bytes belong to.
    """

    def __init__(
        self, message: str = "", *, offset: int | None = None, node: str | None = None
    ) -> None:
        super().__init__(message)
        self.offset = offset
        self.node = node


class StorageError(KistError, OSError):
    """The device, the path or the mode does not allow it.

    Attributes
    ----------
    errno : int or None
        Number of the system's error, where there was one.
    filename, filename2 : str or None
        The files concerned.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError keeps these beside the dictionary of the object.
        system = {name: getattr(self, name) for name in ("errno", "filename", "filename2")}
        return (_rebuild, (type(self), self.args, system | self.__dict__))


class StoreNotFoundError(StorageError, FileNotFoundError):
    """There is no file at the path."""


class StoreExistsError(StorageError, FileExistsError):
    """There is already a file at the path."""


class StoreLockedError(StorageError):
    """Another writer holds the store."""


class ReadOnlyError(StorageError):
    """The store, or this handle, does not take writes."""


class TransactionError(KistError):
    """The transaction cannot do this."""


class ConflictError(TransactionError):
    """Another change came between."""


class TransactionClosedError(TransactionError):
    """The transaction has ended, or belongs to another thread, task or process."""


class CommitUnknownError(TransactionError):
    """The sync of the commit record failed: reopen the store to learn the outcome.

    Attributes
    ----------
    commit : int or None
        The commit whose outcome is unknown.
    """

    def __init__(self, message: str = "", *, commit: int | None = None) -> None:
        super().__init__(message)
        self.commit = commit


class SnapshotError(KistError):
    """The state that was asked for cannot be shown."""


class SnapshotExpiredError(SnapshotError):
    """The version is no longer kept; `tag` keeps one until it is untagged."""


class StaleHandleError(SnapshotError):
    """The handle names something that was deleted or replaced."""


class StoreClosedError(SnapshotError, ValueError):
    """The store is closed."""


class ConstraintError(KistError):
    """Rows break a key, reference or check."""


class NodeError(KistError):
    """The path, column or key cannot be used like this."""


class NodeNotFoundError(NodeError, KeyError):
    """There is no node at the path."""


class LinkError(NodeNotFoundError):
    """A link cannot be followed: what it leads to is missing, another one, or not allowed.

    Attributes
    ----------
    cycle : bool or None
        Whether it leads in a circle, or through so many links that it may as well.
    """

    def __init__(self, message: str = "", *, cycle: bool | None = None) -> None:
        super().__init__(message)
        self.cycle = cycle


class ColumnNotFoundError(NodeError, KeyError):
    """The table has no such column."""


class KeyNotFoundError(NodeError, KeyError):
    """The key store or the attributes hold no such key."""


class NodeExistsError(NodeError):
    """Something else stands under that name."""


class NodeNameError(NodeError, ValueError):
    """The name cannot be used for a node."""


class SelectionError(KistError, IndexError):
    """The index, slice or mask does not fit."""


class DTypeError(KistError, TypeError):
    """The values or the dtype do not fit, and would lose something.

    Attributes
    ----------
    row : int or None
        First row of the input that does not fit.
    column : str or None
        Its column.
    why : str or None
        What is wrong, without the place.
    """

    def __init__(
        self,
        message: str = "",
        *,
        row: int | None = None,
        column: str | None = None,
        why: str | None = None,
    ) -> None:
        super().__init__(message)
        self.row = row
        self.column = column
        self.why = why


class ShapeError(KistError, ValueError):
    """The shape does not fit."""


class QueryError(KistError, ValueError):
    """The expression cannot be used; `span` points into its text.

    Attributes
    ----------
    text : str or None
        The expression.
    span : tuple of (int, int) or None
        First and one-past-last character of the part at fault.
    """

    def __init__(
        self, message: str = "", *, text: str | None = None, span: tuple[int, int] | None = None
    ) -> None:
        super().__init__(message)
        self.text = text
        self.span = span


class TooLargeError(KistError, MemoryError):
    """Loading or decoding this would take more memory than allowed."""


class CodecError(KistError):
    """A codec refused its input, or is missing."""


class UnknownCodecError(CodecError):
    """The file names a codec that this kist does not know."""


class ConversionError(KistError):
    """What another format holds cannot come over, or not without a loss that was refused."""


class SecretError(KistError):
    """A secret is needed, wrong, or shows that the data were changed."""


class WrongSecretError(SecretError):
    """The secret does not open this field."""


class TamperedDataError(SecretError):
    """Sealed data were altered, moved or replaced."""


class KistWarning(UserWarning):
    """Root of the warnings of kist."""


class PerformanceWarning(KistWarning):
    """The same job can be done much faster another way."""


class WeakSecretWarning(KistWarning):
    """A passphrase that can be guessed."""


class MountWarning(KistWarning):
    """The store is written where kist is limited (network mounts) or untested (other systems)."""


class DamageWarning(KistWarning):
    """Part of the file is damaged; what is shown is whole."""
