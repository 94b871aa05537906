"""The exception tree: its shape, its messages, and that errors survive pickling."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import kist
from kist import errors

# name -> every base, in order
TREE: dict[str, tuple[type, ...]] = {
    "KistError": (Exception,),
    "FormatError": (errors.KistError,),
    "NotAStoreError": (errors.FormatError,),
    "UnsupportedVersionError": (errors.FormatError,),
    "CorruptDataError": (errors.FormatError,),
    "StorageError": (errors.KistError, OSError),
    "StoreNotFoundError": (errors.StorageError, FileNotFoundError),
    "StoreExistsError": (errors.StorageError, FileExistsError),
    "StoreLockedError": (errors.StorageError,),
    "ReadOnlyError": (errors.StorageError,),
    "TransactionError": (errors.KistError,),
    "ConflictError": (errors.TransactionError,),
    "TransactionClosedError": (errors.TransactionError,),
    "CommitUnknownError": (errors.TransactionError,),
    "SnapshotError": (errors.KistError,),
    "SnapshotExpiredError": (errors.SnapshotError,),
    "StaleHandleError": (errors.SnapshotError,),
    "StoreClosedError": (errors.SnapshotError, ValueError),
    "ConstraintError": (errors.KistError,),
    "NodeError": (errors.KistError,),
    "NodeNotFoundError": (errors.NodeError, KeyError),
    "LinkError": (errors.NodeNotFoundError,),
    "ColumnNotFoundError": (errors.NodeError, KeyError),
    "KeyNotFoundError": (errors.NodeError, KeyError),
    "NodeExistsError": (errors.NodeError,),
    "NodeNameError": (errors.NodeError, ValueError),
    "SelectionError": (errors.KistError, IndexError),
    "DTypeError": (errors.KistError, TypeError),
    "ShapeError": (errors.KistError, ValueError),
    "QueryError": (errors.KistError, ValueError),
    "TooLargeError": (errors.KistError, MemoryError),
    "CodecError": (errors.KistError,),
    "UnknownCodecError": (errors.CodecError,),
    "ConversionError": (errors.KistError,),
    "SecretError": (errors.KistError,),
    "WrongSecretError": (errors.SecretError,),
    "TamperedDataError": (errors.SecretError,),
    "KistWarning": (UserWarning,),
    "PerformanceWarning": (errors.KistWarning,),
    "MountWarning": (errors.KistWarning,),
    "WeakSecretWarning": (errors.KistWarning,),
    "DamageWarning": (errors.KistWarning,),
}
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__
}
STORAGE = [c for c in CLASSES.values() if issubclass(c, errors.StorageError)]
ERRORS = [c for c in CLASSES.values() if issubclass(c, errors.KistError)]

# Values for the optional attributes, each unlike its default.
ATTRIBUTES: dict[type, dict[str, object]] = {
    errors.LinkError: {"cycle": True},
    errors.CorruptDataError: {"offset": 40960, "node": "/run7/temp"},
    errors.CommitUnknownError: {"commit": 17},
    errors.DTypeError: {"row": 3, "column": "price", "why": "300 does not fit"},
    errors.QueryError: {"text": "a >> 1", "span": (2, 4)},
}


def test_the_tree_holds_exactly_these_classes() -> None:
    assert {name: c.__bases__ for name, c in CLASSES.items()} == TREE


def test_the_drawing_in_the_docstring_names_every_class() -> None:
    assert errors.__doc__ is not None
    assert [name for name in TREE if name not in errors.__doc__] == []


def test_every_class_is_a_public_name() -> None:
    assert {name: getattr(kist, name) for name in TREE} == CLASSES
    assert set(TREE) <= set(kist.__all__)


def test_the_table_of_attributes_names_every_optional_argument() -> None:
    for error in ERRORS:
        expected = ATTRIBUTES.get(error, {})
        if "__init__" in vars(error):
            parameters = list(inspect.signature(error).parameters.values())
            assert parameters[0].name == "message"
            assert {p.name for p in parameters[1:]} == set(expected)
            assert all(p.kind is p.KEYWORD_ONLY and p.default is None for p in parameters[1:])
        else:
            assert expected == {}


@pytest.mark.parametrize("error", ERRORS, ids=lambda c: c.__name__)
def test_text_of_an_error_is_its_message(error: type[errors.KistError]) -> None:
    message = "'/run7/temp' chunk (3, 0): it's gone"
    assert str(error(message)) == message
    assert str(error("")) == ""
    assert str(error()) == ""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", ERRORS, ids=lambda c: c.__name__)
def test_an_error_survives_pickling_with_its_attributes(
    error: type[errors.KistError], protocol: int
) -> None:
    attributes = ATTRIBUTES.get(error, {})
    original = error("where, what, what to do", **attributes)
    original.add_note("said later")
    for twin in (pickle.loads(pickle.dumps(original, protocol)), copy.copy(original)):
        assert type(twin) is error
        assert str(twin) == "where, what, what to do"
        assert twin.args == original.args
        assert {name: getattr(twin, name) for name in attributes} == attributes
        assert twin.__notes__ == ["said later"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda c: c.__name__)
def test_a_new_error_has_its_attributes_unset(error: type[errors.KistError]) -> None:
    assert [getattr(error("m"), name) for name in ATTRIBUTES.get(error, {})] == [
        None for _ in ATTRIBUTES.get(error, {})
    ]


def test_a_missing_key_can_be_caught_as_in_a_dict() -> None:
    with pytest.raises(KeyError) as caught:
        raise kist.KeyNotFoundError("no key 'a b'")
    assert str(caught.value) == "no key 'a b'"  # KeyError alone would show the repr


def test_warnings_are_no_errors() -> None:
    assert not issubclass(errors.KistWarning, errors.KistError)
    with pytest.warns(errors.KistWarning, match="slow"):
        import warnings

        warnings.warn("slow", errors.PerformanceWarning, stacklevel=1)


@pytest.mark.parametrize("error", STORAGE, ids=lambda c: c.__name__)
def test_the_number_and_the_file_of_a_storage_error_survive_pickling(
    error: type[errors.StorageError],
) -> None:
    raised = error("no space left")
    raised.errno, raised.filename, raised.filename2 = 28, "a.kist", "b.kist"
    raised.add_note("while copying")
    for found in (pickle.loads(pickle.dumps(raised)), copy.copy(raised)):
        assert type(found) is error
        assert str(found) == "no space left"
        assert (found.errno, found.filename, found.filename2) == (28, "a.kist", "b.kist")
        assert found.__notes__ == ["while copying"]
    plain = pickle.loads(pickle.dumps(error("plain")))
    assert (plain.errno, plain.filename, plain.filename2) == (None, None, None)
