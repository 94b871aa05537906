"""The rules of the source tree, read from the source: who may import whom, and the like.

Imports are found with `ast` in every place, inside functions too; nothing is run.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "kist"

# Imports point up: a room may use the rooms of rows above its own, and itself.
# Siblings in a row do not know each other.
ROWS: list[set[str]] = [
    {"errors", "extras", "lazy", "options", "_kernels"},
    {"format", "codecs", "crypto", "storage"},
    {"engine"},
    {"indexes"},
    {"query"},
    {"model"},
    {"bridges", "integrations", "viewer"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: level for level, row in enumerate(ROWS) for room in row}
# These see what a user sees: ``import kist`` and its public names.
PUBLIC_ONLY = {"bridges", "integrations", "viewer", "testing"}
# Modules whose contents are public by their own name.
PUBLIC_MODULES = {"errors", "extras", "options"}
# Beside the public names. Who makes hostile files must speak the format, and nothing else of kist.
ALSO: dict[str, set[str]] = {"testing": {"storage", "format"}}

# Base dependencies, and the rooms that may use them.
BASE: dict[str, set[str] | None] = {
    "numpy": None,  # every room
    "xxhash": {"format", "storage", "engine"},
    "blosc2": {"codecs", "bridges"},  # bridges: its own files
    "pcodec": {"codecs"},
    "click": {"cli"},
}
# What the extras bring: inside functions only, so that kist works without them.
EXTRAS = {
    "IPython", "cryptography", "dask", "distributed", "duckdb", "fsspec", "h5py", "hdf5plugin",
    "ipython",
    "joblib", "matplotlib", "netCDF4", "obstore", "pandas", "polars", "psutil", "pyarrow", "tables",
    "xarray", "zarr",
}  # fmt: skip
EXTRAS_ONLY_IN: dict[str, set[str]] = {"cryptography": {"crypto"}}
# Modules that the other library loads itself, to find classes derived from its own: it is there.
LOADED_BY = {
    "integrations/xarray.py": "xarray",
    "integrations/xarray_read.py": "xarray",
    "integrations/xarray_write.py": "xarray",
}
# CPython's, for its own tests; it may be missing.
PYTHON = sys.stdlib_module_names | {"_testcapi"}
# The public test suites are imported by tests, so what tests need is there.
TESTING_NEEDS = {"pytest", "hypothesis"}

MAX_LINES = 600

# Modules that run code from bytes -> files that may import them. `allow_pickle=True`
# is the only way that leads there.
RUNS_CODE = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
RUNS_CODE_IN: dict[str, set[str]] = {
    "pickle": {"model/shelf.py", "bridges/pickles.py"},
    "shelve": {"bridges/pickles.py"},
}


class Import(NamedTuple):
    """One imported module, with the name taken from it if any."""

    file: str
    line: int
    module: str
    name: str | None
    nested: bool
    typing_only: bool


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


@functools.cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def label(file: Path) -> str:
    return file.relative_to(SOURCE).as_posix()


def room_of(file: str) -> str:
    """`format/frame.py` -> `format`, `errors.py` -> `errors`, `__init__.py` -> ``."""
    first = file.split("/")[0].removesuffix(".py")
    return "" if first == "__init__" else first


def is_type_checking(node: ast.expr) -> bool:
    return ast.unparse(node) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports_of(tree: ast.Module, file: str) -> Iterator[Import]:
    """Every import of a module, relative ones and literal ``import_module`` calls resolved."""
    package = ["kist", *file.split("/")[:-1]]

    def visit(node: ast.AST, nested: bool, typing_only: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, None, nested, typing_only)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(file, node.lineno, module, alias.name, nested, typing_only)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")[-1]
            first = node.args[0] if node.args else None
            if (
                called in {"import_module", "__import__"}
                and isinstance(first, ast.Constant)
                and isinstance(first.value, str)
            ):
                yield Import(file, node.lineno, first.value, None, nested, typing_only)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            nested = True
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.body:
                yield from visit(child, nested, True)
            for child in node.orelse:
                yield from visit(child, nested, typing_only)
            return
        for child in ast.iter_child_nodes(node):
            yield from visit(child, nested, typing_only)

    yield from visit(tree, False, False)


def all_imports() -> list[Import]:
    return [i for file in files() for i in imports_of(tree_of(file), label(file))]


def room_imported(module: str, name: str | None, rooms: set[str]) -> str | None:
    """Room that an import reaches; ``kist`` for public names, None for other packages."""
    parts = module.split(".")
    if parts[0] != "kist":
        return None
    if len(parts) > 1:
        return parts[1]
    return name if name in rooms else "kist"


def import_problem(found: Import) -> str | None:
    """Why an import breaks the table, or None."""
    own = room_of(found.file)
    if own == "":
        return None  # the lazy names have a test of their own
    rooms = {*LEVEL, "testing"}
    other = room_imported(found.module, found.name, rooms)
    where = f"{found.file}:{found.line}"
    if own not in rooms:
        return f"{where}: room {own!r} is not in the table"
    if other is not None:
        if other == own:
            return None
        if own in PUBLIC_ONLY:
            allowed = {"kist"} | PUBLIC_MODULES | ALSO.get(own, set())
            return None if other in allowed else f"{where}: {own} uses {other}, which is not public"
        if other == "kist":
            if own in ("cli", "__main__") or found.name == "__version__":
                return None
            return f"{where}: {own} imports public names, which stand below it"
        if other == "testing" or other not in rooms:
            return f"{where}: {own} may not use {other}"
        if LEVEL[other] < LEVEL[own]:
            return None
        return f"{where}: {own} imports {other}, which is not above it"
    top = found.module.split(".")[0]
    if top in PYTHON or found.typing_only:
        return None
    if top in BASE:
        where_allowed = BASE[top]
        if where_allowed is None or own in where_allowed:
            return None
        return f"{where}: {top} belongs in {', '.join(sorted(where_allowed))} only"
    if own == "testing" and top in TESTING_NEEDS:
        return None
    if top in EXTRAS:
        if own not in EXTRAS_ONLY_IN.get(top, {own}):
            return f"{where}: {top} belongs in {', '.join(sorted(EXTRAS_ONLY_IN[top]))} only"
        if found.nested or LOADED_BY.get(found.file) == top:
            return None
        return f"{where}: {top} may be missing; import it in a function"
    return f"{where}: {top} is no dependency of kist"


def test_imports_point_up_the_table() -> None:
    assert [p for p in map(import_problem, all_imports()) if p] == []


# What each package of `model/tables` may import of the others when it is loaded.
TABLES: dict[str, set[str]] = {
    "stored": set(),
    "query": {"stored", "indexes"},
    "indexes": {"stored", "query"},
    "input": {"stored", "query"},
    "changes": {"stored", "query", "indexes", "input"},
}


def test_the_packages_of_tables_know_only_what_is_below_them() -> None:
    here = "kist.model.tables."
    problems = []
    seen = set()
    for found in all_imports():
        own = Path(found.file).parts
        if own[:2] != ("model", "tables") or len(own) < 4 or found.typing_only or found.nested:
            continue
        if found.module.startswith(here):
            seen.add(own[2])
            other = found.module.removeprefix(here).split(".")[0]
            if other != own[2] and other not in TABLES[own[2]]:
                problems.append(f"{found.file} imports {found.module}")
    assert seen == set(TABLES)
    assert problems == []


@pytest.mark.parametrize(
    ("file", "code", "fits"),
    [
        ("format/frame.py", "from kist.errors import FormatError", True),
        ("format/frame.py", "from ..errors import FormatError", True),
        ("format/frame.py", "from . import layout", True),
        ("format/frame.py", "from kist.codecs import registry", False),
        ("format/frame.py", "from ..codecs import registry", False),
        ("format/frame.py", "from kist import codecs", False),
        ("format/frame.py", "import kist", False),
        ("format/frame.py", "def f():\n    import kist.engine.cache", False),
        ("format/frame.py", "import importlib\nimportlib.import_module('kist.engine')", False),
        ("format/frame.py", "import xxhash, numpy.lib", True),
        ("format/frame.py", "import click", False),
        ("format/frame.py", "import requests", False),
        ("errors.py", "from kist.options import n_threads", False),
        ("_kernels/split.py", "import kist.errors", False),
        ("codecs/blosc.py", "import blosc2", True),
        ("codecs/blosc.py", "import xxhash", False),
        ("engine/commit.py", "from kist.storage.file import FileBackend", True),
        ("engine/commit.py", "import blosc2", False),
        ("query/plan.py", "from kist.model.tables.table import Table", False),
        ("model/tables/table.py", "from kist.query import expr", True),
        ("model/tables/table.py", "from kist import __version__", True),
        ("model/tables/table.py", "from kist.testing import suites", False),
        ("model/tables/table.py", "import pyarrow", False),
        ("model/tables/table.py", "def f():\n    import pyarrow", True),
        ("model/tables/table.py", "if TYPE_CHECKING:\n    import pyarrow", True),
        ("model/tables/table.py", "if TYPE_CHECKING:\n    import kist.cli", False),
        ("crypto/seal.py", "def f():\n    import cryptography.hazmat", True),
        ("engine/seal.py", "def f():\n    import cryptography.hazmat", False),
        ("bridges/npy.py", "import kist", True),
        ("bridges/npy.py", "from kist import Store, options", True),
        ("bridges/npy.py", "from kist.model.store import Store", False),
        ("bridges/npy.py", "import kist.viewer", False),
        ("cli/main.py", "import click, kist.bridges.npy", True),
        ("__main__.py", "def main():\n    import kist, kist.cli.main", True),
        ("cli/main.py", "import kist.__main__", False),
        ("testing/suites.py", "import pytest, kist.storage.file", True),
        ("testing/suites.py", "import kist.engine.commit", False),
        ("testing/suites.py", "from kist.format import layout", True),
        ("elsewhere.py", "import os", False),
    ],
)
def test_the_table_tells_right_from_wrong(file: str, code: str, fits: bool) -> None:
    problems = [p for i in imports_of(ast.parse(code), file) if (p := import_problem(i))]
    assert (problems == []) is fits


def test_extras_of_the_project_are_in_the_table() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^\w]", r)[0] for r in requirements}

    assert names(project["dependencies"]) == set(BASE)
    extras = project["optional-dependencies"]
    for_users = set(extras) - {"test", "dev", "bench", "fuzz"}
    assert {name for extra in for_users for name in names(extras[extra])} <= EXTRAS
    assert names(extras["test"]) >= TESTING_NEEDS


def lazy_homes() -> dict[str, str]:
    """Public name -> module, from the text of `kist/__init__.py`."""
    (table,) = (
        node.value
        for node in tree_of(SOURCE / "__init__.py").body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES"
    )
    homes = ast.literal_eval(table)
    assert isinstance(homes, dict)
    return homes


def test_the_package_holds_nothing_but_lazy_names() -> None:
    kinds = []
    for node in tree_of(SOURCE / "__init__.py").body:
        if isinstance(node, ast.If) and is_type_checking(node.test):
            kinds += [f"else {n.name}" for n in node.orelse if isinstance(n, ast.FunctionDef)]
            assert len(node.orelse) == 2
        elif isinstance(node, ast.ImportFrom):
            kinds.append(f"from {node.module}")
        elif isinstance(node, ast.Assign):
            kinds.append(ast.unparse(node.targets[0]))
        else:
            assert isinstance(node, ast.Expr)  # the docstring
            kinds.append("docstring")
    assert kinds == [
        "docstring", "from __future__", "from typing", "__all__", "__version__", "_HOMES",
        "else __getattr__", "else __dir__",
    ]  # fmt: skip


def test_public_names_are_sorted_and_named_once() -> None:
    import kist

    assert kist.__all__ == sorted(set(kist.__all__))
    assert set(lazy_homes()) <= set(kist.__all__)
    assert set(kist.__all__) <= set(dir(kist))


def test_names_for_type_checkers_are_the_public_names() -> None:
    import kist

    (block,) = (
        node
        for node in tree_of(SOURCE / "__init__.py").body
        if isinstance(node, ast.If) and is_type_checking(node.test)
    )
    declared = {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            declared |= {alias.asname or alias.name: node.module for alias in node.names}
        elif isinstance(node, ast.AnnAssign):
            declared[ast.unparse(node.target)] = None
    assert {*declared, "__version__"} == set(kist.__all__)
    homes = lazy_homes()
    assert {name: declared[name] for name in homes} == homes


@pytest.mark.parametrize("name", sorted(lazy_homes()))
def test_a_public_name_leads_to_what_it_names(name: str) -> None:
    import kist

    home = lazy_homes()[name]
    base = ROOT / "src" / Path(*home.split("."))
    exists = base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()
    if not exists and not (SOURCE / "cli" / "main.py").is_file():
        pytest.skip(f"no {home} yet; the command line, built last, ends this excuse")
    assert getattr(kist, name).__module__.startswith("kist.")


def test_an_unknown_name_is_an_attribute_error() -> None:
    import kist

    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        getattr(kist, "opne")  # noqa: B009 - type checkers would see it


def test_importing_kist_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import kist; "
        "new = set(sys.modules) - before; "
        "print(sorted(m for m in new if m.split('.')[0] not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['kist']\n"


def test_the_version_is_that_of_the_project() -> None:
    import tomllib

    import kist

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert kist.__version__ == project["version"]


def test_modules_are_short() -> None:
    lengths = {label(f): len(f.read_text(encoding="utf-8").splitlines()) for f in files()}
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


def test_every_module_says_what_it_is() -> None:
    assert [label(f) for f in files() if not ast.get_docstring(tree_of(f))] == []


def test_every_module_defers_its_annotations() -> None:
    needle = "from __future__ import annotations"
    assert [
        label(f)
        for f in files()
        if len(tree_of(f).body) > 1 and needle not in f.read_text(encoding="utf-8")
    ] == []


def silent_handlers(tree: ast.Module) -> list[int]:
    """Lines where an error disappears: caught bare, or broadly or with nothing done."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or bool(
                re.search(r"\b(Base)?Exception\b", ast.unparse(node.type))
            )
            inside = [n for child in node.body for n in ast.walk(child)]
            handled = any(isinstance(n, ast.Raise) for n in inside) or any(
                isinstance(n, ast.Name) and n.id == node.name for n in inside
            )
            nothing = all(
                isinstance(n, ast.Pass) or (isinstance(n, ast.Expr) and ast.unparse(n) == "...")
                for n in node.body
            )
            if node.type is None or nothing or (broad and not handled):
                lines.append(node.lineno)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).split(".")[-1] == "suppress"
            and any("Exception" in ast.unparse(a) for a in node.args)
        ):
            lines.append(node.lineno)
    return lines


def asserts_on_input(tree: ast.Module) -> list[int]:
    """Lines of asserts about an argument of their function: `python -O` would drop the check."""
    lines = []

    def visit(node: ast.AST, arguments: frozenset[str]) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            a = node.args
            every = [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]
            arguments |= {x.arg for x in every if x is not None} - {"self", "cls"}
        if isinstance(node, ast.Assert):
            names = {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}
            if names & arguments:
                lines.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, arguments)

    visit(tree, frozenset())
    return lines


def runs_code(tree: ast.Module, file: str) -> list[int]:
    """Lines that could turn data into running code."""
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"eval", "exec", "compile", "__import__"}
    ]
    for found in imports_of(tree, file):
        top = found.module.split(".")[0]
        if top in RUNS_CODE and file not in RUNS_CODE_IN.get(top, set()):
            lines.append(found.line)
    return lines


def test_no_error_disappears_silently() -> None:
    assert {label(f): n for f in files() if (n := silent_handlers(tree_of(f)))} == {}


def test_no_assert_checks_an_argument() -> None:
    # The suites in testing/ are tests themselves.
    mine = [f for f in files() if room_of(label(f)) != "testing"]
    assert {label(f): n for f in mine if (n := asserts_on_input(tree_of(f)))} == {}


def test_nothing_turns_data_into_running_code() -> None:
    assert {label(f): n for f in files() if (n := runs_code(tree_of(f), label(f)))} == {}


@pytest.mark.parametrize(
    ("check", "code", "found"),
    [
        (silent_handlers, "try: f()\nexcept: raise", True),
        (silent_handlers, "try: f()\nexcept OSError: pass", True),
        (silent_handlers, "try: f()\nexcept Exception: x = 1", True),
        (silent_handlers, "try: f()\nexcept (OSError, BaseException): x = 1", True),
        (silent_handlers, "try: f()\nexcept BaseException:\n    undo()\n    raise", False),
        (silent_handlers, "try: f()\nexcept Exception as e: report(e)", False),
        (silent_handlers, "try: f()\nexcept KeyError: x = None", False),
        (silent_handlers, "with contextlib.suppress(Exception): f()", True),
        (silent_handlers, "with suppress(OSError): f()", False),
        (asserts_on_input, "def f(n): assert n > 0", True),
        (asserts_on_input, "def f(self, *, n):\n    def g(): assert len(n)", True),
        (asserts_on_input, "def f(self): assert self.n > 0", False),
        (asserts_on_input, "def f(n):\n    root = g(n)\n    assert root is not None", False),
        (lambda t: runs_code(t, "a.py"), "eval('1')", True),
        (lambda t: runs_code(t, "a.py"), "def f():\n    from pickle import loads", True),
        (lambda t: runs_code(t, "a.py"), "import ast, re\nre.compile(ast.literal_eval(s))", False),
    ],
)
def test_the_checks_tell_right_from_wrong(check, code: str, found: bool) -> None:  # type: ignore[no-untyped-def]
    assert bool(check(ast.parse(code))) is found


# A slash at the start of a word, then a folder that only one machine has.
MACHINE_PATH = re.compile(
    r"(?<![\w./\-~>)\]}])(?:/(?:home|root|work|tmp|Users|mnt|opt|var|private)/|[A-Z]:\\Users\b)"
)
URL = re.compile(r"\b(?:https?|ftp|ssh|git|s3)://(?:[^\s/@]*@)?([\w.\-\[\]:]+)")
ADDRESS = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
# Reserved for examples by RFC 2606 and 6761, this machine, and identifiers that only look
# like addresses of pages (XML namespaces).
HOSTS = re.compile(
    r"(?:[\w\-]+\.)*(?:example(?:\.(?:com|net|org))?|localhost|test|invalid)(?::\d+)?"
    r"|127\.0\.0\.1(?::\d+)?|www\.w3\.org|doi\.org|www\.rfc-editor\.org"
)
ADDRESSES = {"127.0.0.1", "0.0.0.0"}


def project_files() -> list[Path]:
    """Tracked files; all files where there is no repository, as in a copy under test."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        skipped = re.compile(
            r"(^|/)(__pycache__|build|dist|\.[a-z]+_cache|\.hypothesis|\.venv[^/]*|[^/]*\.egg-info)/"
        )
        found = [f for f in ROOT.rglob("*") if not skipped.search(f.relative_to(ROOT).as_posix())]
    return sorted(f for f in found if f.is_file())


def of_one_machine(text: str) -> list[str]:
    """Parts of a text that name a folder or a host of one machine."""
    found = [text[m.start() : m.end() + 20] for m in MACHINE_PATH.finditer(text)]
    found += [m[1] for m in URL.finditer(text) if not HOSTS.fullmatch(m[1].rstrip(".:"))]
    found += [m[0] for m in ADDRESS.finditer(text) if m[0] not in ADDRESSES]
    return found


def test_no_file_names_a_machine() -> None:
    problems = {}
    for file in project_files():
        data = file.read_bytes()
        if b"\0" in data:
            continue  # not text
        if found := of_one_machine(data.decode("utf-8", errors="replace")):
            problems[file.relative_to(ROOT).as_posix()] = found
    assert problems == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("path = '{}home{}ann{}t.kist'", True),
        ("{}tmp{}t.kist", True),
        ("#!{}usr{}bin{}env bash", False),
        ("{}proc{}self{}fd", False),
        ("store['raw{}work{}images']", False),
        ("pip --index-url https:{}{}pypi.internal{}simple", True),
        ("http:{}{}localhost:8000{}t.kist", False),
        ("https:{}{}data.example.org{}t.kist", False),
        ("ping 10.1.2." + "3", True),
        ("version 1.2.3", False),
    ],
)
def test_names_of_machines_are_told_from_others(text: str, found: bool) -> None:
    # Written with gaps, so that this file passes its own check.
    assert bool(of_one_machine(text.replace("{}", "/"))) is found


_POSIX = {
    "register_at_fork", "fork", "pread", "preadv", "pwrite", "pwritev", "fdatasync", "sysconf",
    "O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK", "readlink", "sched_getaffinity", "posix_fadvise",
    "posix_fallocate", "getuid", "chown", "fchmod", "statvfs", "mkfifo", "killpg",
}  # fmt: skip
_OF_ONE_SYSTEM = {"storage/file.py", "storage/ofd.py", "storage/linux.py", "storage/darwin.py"}


def test_calls_that_windows_lacks_are_asked_for_first() -> None:
    found = []
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        if name in _OF_ONE_SYSTEM or name.startswith("testing/"):
            continue
        text = path.read_text(encoding="utf-8")
        guarded = set(re.findall(r'hasattr\(os, "(\w+)"\)', text))
        if 'os.name == "nt"' in text:
            guarded |= {"O_DIRECTORY", "O_CLOEXEC"}
        found += [
            f"{name}:{node.lineno}: os.{node.attr}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
            and node.attr in _POSIX - guarded
        ]
    assert not found
