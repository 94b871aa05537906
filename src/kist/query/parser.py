"""Text to expression: a whitelist over the syntax tree of Python.

Python reads the text, nothing runs it: every node of the tree is either known here, and turned
into a node of `kist.query.expression`, or refused with its place in the text.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np

from kist.errors import QueryError
from kist.query.diagnostics import did_you_mean, query_error
from kist.query.expression import (
    Call,
    Cast,
    Expr,
    IsIn,
    Literal,
    Name,
    Reduction,
    between,
    operation,
)
from kist.query.functions import FUNCTIONS, REDUCTIONS
from kist.query.literals import CASTS, CONSTRUCTORS, construct_array

__all__ = ["MAX_TEXT", "read_text"]

#: Longest text, in characters; long lists of values are parameters.
MAX_TEXT = 100_000

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
_UNARY: dict[type[ast.unaryop], str] = {
    ast.USub: "-",
    ast.UAdd: "+",
    ast.Invert: "~",
    ast.Not: "not",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_OTHER_FUNCTIONS = ("isin", "between", "col", *REDUCTIONS)

_HINTS: dict[type[ast.AST], str] = {
    ast.IfExp: "write where(condition, x, y) for x if condition else y",
    ast.Subscript: "[...] is not allowed in an expression; a field of a column is column.field",
    ast.List: "a list stands only behind in, or in isin(x, [...])",
    ast.Tuple: "a list stands only behind in, or in isin(x, [...])",
    ast.Set: "a list stands only behind in, or in isin(x, [...])",
    ast.JoinedStr: "f-strings are not allowed; pass the value as a parameter",
    ast.NamedExpr: "write == to compare",
}


_SPELLINGS: tuple[tuple[str, str], ...] = (
    (r"<>", "not equal is written !="),
    (r"(?<!\w)@\w", "a parameter is written without @: where('x > limit', limit=3)"),
    (r"%\(\w|(?<!\w)[?:$]\w*", "a parameter is written by its name: where('x > limit', limit=3)"),
    (r"(?i)\b(i?like|rlike)\b(?!\s*\()", "patterns are asked for by like(x, 'a%')"),
    (r"(?i)\bbetween\b(?!\s*\()", "ranges are asked for by between(x, low, high)"),
    (r"(?i)\bis\s+(not\s+)?null\b", "nulls are asked for by isnull(x)"),
    (r"`", "a name that is none in Python is written col('its name')"),
)
"""What SQL, pandas and database drivers write, and what is written here."""

_METHODS = {
    "isna": "isnull(x)", "notna": "notnull(x)", "fillna": "where(isnull(x), value, x)",
    "coalesce": "where(isnull(x), value, x)", "pow": "x ** y",
}  # fmt: skip
"""Methods and functions of others that have another name here."""


@lru_cache(maxsize=256)
def read_text(text: str) -> Expr:
    """Return the expression that a text stands for; its nodes have their span in the text.

    Raises
    ------
    QueryError
        It is no expression, uses what is not allowed, or is too long or nested too deeply.

    Notes
    -----
    About 40 us for a condition of two comparisons; the last texts are kept.
    """
    if len(text) > MAX_TEXT:
        raise QueryError(
            f"the expression has {len(text)} characters, at most {MAX_TEXT} are read; "
            "pass long lists of values as a parameter: isin(x, values)"
        )
    body = text.strip()
    shift = len(text) - len(text.lstrip())
    if not body:
        raise query_error("the expression is empty", text, None)
    try:
        tree = ast.parse(body, mode="eval")
        return _Reader(text, body, shift).read(tree.body)
    except SyntaxError as error:
        raise _syntax_error(error, text, body, shift) from None
    except (RecursionError, MemoryError):
        # ast.parse gives up with either of them, long before memory is short.
        raise QueryError("the expression is nested too deeply", text=text) from None
    except QueryError:
        raise
    except ValueError as error:  # NUL characters, lone surrogates, numbers of 5000 digits
        raise QueryError(f"the text cannot be read: {error}", text=text) from None


def _syntax_error(error: SyntaxError, text: str, body: str, shift: int) -> QueryError:
    message = (error.msg or "invalid syntax").partition(" (<unknown>")[0]
    if "nested parentheses" in message:
        message = "the expression is nested too deeply"
    if re.search(r"&&|\|\||!(?!=)", body):
        message += "; and, or, not are written & | ~ with parentheses, or and, or, not"
    elif re.search(r"\b(AND|OR|NOT|IN)\b", body):
        message += "; and, or, not, in are written in small letters"
    elif re.search(r"(?<![=<>!:])=(?!=)", body):
        message += "; a comparison is written =="
    elif (hint := _other_spelling(body)) is not None:
        message += f"; {hint}"
    elif "\n" in body:
        message += "; an expression of several lines stands in parentheses"
    starts = _lines_of(body)[1]
    line = min(max((error.lineno or 1) - 1, 0), len(starts) - 1)
    at = shift + starts[line] + max((error.offset or 1) - 1, 0)
    at = min(at, len(text))
    return query_error(message, text, (at, at + 1))


def _other_spelling(body: str) -> str | None:
    """Return what is written instead of what other query languages have, None where nothing is."""
    code = re.sub(r"'[^']*'|\"[^\"]*\"", "''", body)  # not what stands in quotes
    for pattern, hint in _SPELLINGS:
        if re.search(pattern, code):
            return hint
    return None


def _lines_of(body: str) -> tuple[list[str], list[int]]:
    """Return the lines of a text as Python counts them, and where each begins."""
    lines, starts = [], [0]
    for end in re.finditer("\r\n|\r|\n", body):
        lines.append(body[starts[-1] : end.start()])
        starts.append(end.end())
    return [*lines, body[starts[-1] :]], starts


class _Reader:
    """Turns the syntax tree of one text into an expression."""

    def __init__(self, text: str, body: str, shift: int) -> None:
        self.text = text
        self.shift = shift
        self.lines, starts = _lines_of(body)
        self.starts = [shift + start for start in starts]
        self.ascii = body.isascii()

    def at(self, line: int, column: int) -> int:
        """Return the offset in the text of a place that ast counts in UTF-8 bytes of a line."""
        if not self.ascii:
            column = len(self.lines[line - 1].encode()[:column].decode())
        return self.starts[line - 1] + column

    def span(self, node: Any) -> tuple[int, int]:
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    def fail(self, message: str, node: ast.AST) -> NoReturn:
        raise query_error(message, self.text, self.span(node))

    def read(self, node: ast.expr) -> Expr:
        if isinstance(node, ast.BinOp):
            return self.binary(node)
        if isinstance(node, ast.Compare):
            return self.compare(node)
        if isinstance(node, (ast.Name, ast.Attribute)):
            return Name(self.name(node), span=self.span(node))
        if isinstance(node, ast.Constant):
            return self.constant(node)
        if isinstance(node, ast.UnaryOp):
            return operation(_UNARY[type(node.op)], self.read(node.operand), span=self.span(node))
        if isinstance(node, ast.BoolOp):
            word = "and" if isinstance(node.op, ast.And) else "or"
            return operation(word, *map(self.read, node.values), span=self.span(node))
        if isinstance(node, ast.Call):
            return self.call(node)
        name = type(node).__name__
        self.fail(_HINTS.get(type(node), f"{name} is not allowed in an expression"), node)

    def binary(self, node: ast.BinOp) -> Expr:
        # Down the left side in a loop: a | b | c | ... is as deep as it is long.
        chain = [node]
        while isinstance(chain[-1].left, ast.BinOp):
            chain.append(chain[-1].left)
        found = self.read(chain[-1].left)
        for part in reversed(chain):
            sign = _BINARY.get(type(part.op))
            if sign is None:
                self.fail(f"the operator {type(part.op).__name__} is not allowed", part)
            found = operation(sign, found, self.read(part.right), span=self.span(part))
        return found

    def compare(self, node: ast.Compare) -> Expr:
        self.refuse_ambiguous(node)
        whole = self.span(node)
        if any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
            if len(node.ops) > 1:
                self.fail("`in` cannot be chained; write (x in [...]) & (...)", node)
            found = self.isin(node.left, node.comparators[0], whole)
            negated = isinstance(node.ops[0], ast.NotIn)
            return operation("not", found, span=whole) if negated else found
        operands = [self.read(part) for part in (node.left, *node.comparators)]
        pairs = []
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
            sign = _COMPARE.get(type(op))
            if sign is None:
                if str(getattr(right, "name", "")).lower() in ("null", "na", "nan"):
                    self.fail("`is` is not allowed in an expression; write isnull(x)", node)
                self.fail("`is` is not allowed in an expression; write ==", node)
            pairs.append(operation(sign, left, right, span=whole))
        return pairs[0] if len(pairs) == 1 else operation("and", *pairs, span=whole)

    def refuse_ambiguous(self, node: ast.Compare) -> None:
        """Refuse `a > 1 & b < 2`, which Python reads as `a > (1 & b) < 2`.

        `flags & 4 == 4` is what it seems to be, so one comparison with & or | on its left side
        passes here; that the side is no condition is seen when it is bound.
        """
        operands = [node.left, *node.comparators]
        begin = (node.lineno, node.col_offset)
        cuts: list[tuple[int, int, str]] = []
        for i, part in enumerate(operands):
            if (i > 0 or len(operands) > 2) and _is_bitwise(part) and not self.opened(begin, part):
                self.cut(part, cuts)
            begin = (part.end_lineno or 0, part.end_col_offset or 0)
        if not cuts:
            return
        start, stop = self.span(node)
        pieces, signs = [], []
        for left, right, sign in sorted(cuts):
            pieces.append(self.text[start:left])
            signs.append(sign)
            start = right
        pieces.append(self.text[start:stop])
        shown = [_parenthesised(piece.strip()) for piece in pieces]
        text = shown[0] + "".join(f" {s} {p}" for s, p in zip(signs, shown[1:], strict=True))
        self.fail(f"& and | bind stronger than comparisons; write {text}", node)

    def opened(self, begin: tuple[int, int], node: Any) -> bool:
        """Return whether a parenthesis opens between a place and a node."""
        gap = self.text[self.at(*begin) : self.at(node.lineno, node.col_offset)]
        return "(" in re.sub(r"#.*", "", gap)

    def cut(self, node: Any, cuts: list[tuple[int, int, str]]) -> None:
        """Add the places of the bare & and | of an operand."""
        _, left_stop = self.span(node.left)
        right_start, _ = self.span(node.right)
        gap = self.text[left_stop:right_start]
        sign = _BINARY[type(node.op)]
        at = left_stop + gap.index(sign)
        cuts.append((at, at + 1, sign))
        begin = (node.lineno, node.col_offset)
        for side in (node.left, node.right):
            if _is_bitwise(side) and not self.opened(begin, side):
                self.cut(side, cuts)
            begin = (side.end_lineno, side.end_col_offset)

    def name(self, node: ast.Name | ast.Attribute) -> str:
        """Return a name as it is written: Python itself would normalise it (NFKC)."""
        if isinstance(node, ast.Name):
            start, stop = self.span(node)
            return self.text[start:stop]
        if not isinstance(node.value, (ast.Name, ast.Attribute)):
            self.fail("only columns have fields, written a.b", node)
        _, start = self.span(node.value)
        _, stop = self.span(node)
        return f"{self.name(node.value)}.{self.text[start:stop].strip(' ().')}"

    def constant(self, node: ast.Constant) -> Expr:
        if node.value is None:
            self.fail(
                "None is no value; isnull(x) finds missing values, isnan(x) NaN and NaT", node
            )
        if not isinstance(node.value, (bool, int, float, complex, str, bytes)):
            self.fail(f"{node.value!r} is not allowed in an expression", node)
        return Literal(node.value, span=self.span(node))

    def call(self, node: ast.Call) -> Expr:
        if isinstance(node.func, ast.Attribute):
            name = node.func.attr
            is_here = name in FUNCTIONS or name in _OTHER_FUNCTIONS
            here = f"{name}(x, ...)" if is_here else _METHODS.get(name)
            more = "" if here is None else f"; write {here}"
            self.fail(f"there are no methods{more}", node.func)
        if not isinstance(node.func, ast.Name):
            self.fail("only functions by their name can be called", node.func)
        name = node.func.id
        if name in REDUCTIONS:
            return self.reduction(name, node)
        if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
            self.fail(f"{name}() takes plain arguments only", node)
        whole = self.span(node)
        if name in FUNCTIONS and name not in CONSTRUCTORS:
            self.expect(FUNCTIONS[name], name, node)
            return Call(name, tuple(map(self.read, node.args)), span=whole)
        if name == "isin":
            self.expect(2, name, node)
            return self.isin(node.args[0], node.args[1], whole)
        if name == "between":
            self.expect(3, name, node)
            return between(*map(self.read, node.args))
        if name == "col":
            first = node.args[0] if len(node.args) == 1 else None
            path = first.value if isinstance(first, ast.Constant) else None
            if not isinstance(path, str):
                self.fail("col() takes the name of a column as text: col('my column')", node)
            return Name(path, span=whole)
        if name in CONSTRUCTORS:
            return self.construct(name, node)
        if name == "array":
            self.fail("array() stands only in isin(x, array([...], dtype))", node)
        if name in _METHODS:
            self.fail(f"unknown function {name!r}; write {_METHODS[name]}", node.func)
        known = (*FUNCTIONS, *_OTHER_FUNCTIONS, *CONSTRUCTORS)
        self.fail(f"unknown function {name!r}{did_you_mean(name, known)}", node.func)

    def expect(self, wanted: int, name: str, node: ast.Call) -> None:
        if len(node.args) != wanted:
            self.fail(f"{name}() takes {wanted} arguments, not {len(node.args)}", node)

    def reduction(self, name: str, node: ast.Call) -> Expr:
        given = {key.arg: key.value for key in node.keywords}
        if len(node.args) == 2:
            given = {"axis": node.args[1], **given}
        known = {"axis", "ddof"} if name in ("std", "var") else {"axis"}
        if len(node.args) not in (1, 2) or not set(given) <= known:
            self.fail(f"{name}() takes an expression and {' and '.join(sorted(known))}", node)
        found: dict[str, Any] = {}
        for key, value in given.items():
            try:
                found[str(key)] = ast.literal_eval(value)
            except ValueError:
                self.fail(f"{key} of {name}() is a number", value)
        axis, ddof = found.get("axis"), found.get("ddof", 0)
        axes = (axis,) if type(axis) is int else axis
        if axes is not None and not (
            isinstance(axes, tuple) and axes and all(type(one) is int for one in axes)
        ):
            self.fail(f"axis of {name}() is an int, several in parentheses, or None", given["axis"])
        if type(ddof) is not int:
            self.fail(f"ddof of {name}() is an int", given["ddof"])
        return Reduction(name, self.read(node.args[0]), axes, ddof, span=self.span(node))

    def construct(self, name: str, node: ast.Call) -> Expr:
        values = [self.read(arg) for arg in node.args]
        plain = [value.value for value in values if isinstance(value, Literal)]
        if len(plain) < len(values) or not plain:
            if name in CASTS and len(values) == 1:
                return Cast(name, values[0], span=self.span(node))
            if name in FUNCTIONS and len(values) == FUNCTIONS[name]:
                return Call(name, tuple(values), span=self.span(node))
            self.fail(f"{name}() takes constants only", node)
        try:
            with np.errstate(all="ignore"):
                return Literal(CONSTRUCTORS[name](*plain), span=self.span(node))
        except (ValueError, TypeError, OverflowError) as error:
            self.fail(f"{name}(): {error}", node)

    def isin(self, x: ast.expr, values: ast.expr, span: tuple[int, int]) -> Expr:
        left = self.read(x)
        if isinstance(values, (ast.List, ast.Tuple, ast.Set)):
            return IsIn((left, *map(self.read, values.elts)), True, span=span)
        if isinstance(values, ast.Name):
            return IsIn((left, self.read(values)), False, span=span)
        if isinstance(values, ast.Call) and getattr(values.func, "id", None) == "array":
            return IsIn((left, self.array(values)), False, span=span)
        self.fail("values are a list [...] or the name of a parameter", values)

    def array(self, node: ast.Call) -> Expr:
        if len(node.args) == 2 and not node.keywords and isinstance(node.args[0], ast.List):
            values = [self.read(value) for value in node.args[0].elts]
            dtype = self.read(node.args[1])
            plain = [value.value for value in values if isinstance(value, Literal)]
            if len(plain) == len(values) and isinstance(dtype, Literal):
                try:
                    array = construct_array(plain, dtype.value)
                except (ValueError, TypeError, OverflowError) as error:
                    self.fail(f"array(): {error}", node)
                return Literal(array, True, span=self.span(node))
        self.fail("array() takes a list of constants and a dtype", node)


def _is_bitwise(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr))


def _parenthesised(piece: str) -> str:
    try:
        simple = not isinstance(ast.parse(piece, mode="eval").body, ast.Compare)
    except SyntaxError:
        simple = False
    return piece if simple else f"({piece})"
