"""Text to a checked query; whatever the evaluator cannot answer exactly is refused here."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, NoReturn

import promql_parser

from runbook_lib.errors import nearest
from runbook_lib.lab.metrics.errors import QueryError
from runbook_lib.lab.metrics.labels import METRIC_NAME, Matcher
from runbook_lib.lab.metrics.promql import functions
from runbook_lib.lab.metrics.promql.aggregations import AGGREGATIONS
from runbook_lib.lab.metrics.promql.nodes import (
    Aggregate,
    At,
    Binary,
    Call,
    Matching,
    Negation,
    Node,
    Number,
    Selector,
    Subquery,
    Text,
    kind,
)

_MATCH_OPS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
_MAX_DEPTH = 200
_STRING = re.compile(r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*` | \#[^\n]* """, re.VERBOSE | re.DOTALL)
# The parser panics on these; they mean nothing in a lab.
_BEFORE_EPOCH = re.compile(r"@\s*-")
_BYTE_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\(?:x[89a-fA-F]|[23])")


def parse(query: str) -> Node:
    """Parse and check a query.

    Raises:
        QueryError: not PromQL, or outside of the subset; the message says which part.
    """
    if _BEFORE_EPOCH.search(_STRING.sub("", query)):
        _refuse("a time before 1970 after @")
    try:
        parsed = promql_parser.parse(_STRING.sub(_requote, query))
    except ValueError as error:
        raise QueryError(f'invalid parameter "query": parse error: {error}') from error
    return _convert(parsed, 0)


def _requote(found: re.Match[str]) -> str:
    """Correct what the parser reads differently from Prometheus: raw strings, and bytes that are no characters."""
    text = found.group()
    if text.startswith("`"):
        escaped = text[1:-1].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if not text.startswith("#") and _BYTE_ESCAPE.search(text):
        _refuse(f"a byte above 127 in {text}", "write the character itself")
    return text


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """Parse the ``match[]`` parameter of the API.

    Raises:
        QueryError: anything but a plain selector.
    """
    node = parse(text)
    if not isinstance(node, Selector) or node.range_ms or node.offset_ms or node.at is not None:
        raise QueryError(f'invalid parameter "match[]": {text!r} is not a plain series selector')
    return node.matchers


def _refuse(what: str, hint: str = "") -> NoReturn:
    message = f"{what} is outside the subset of PromQL that the embedded store evaluates"
    raise QueryError(f"{message}; {hint}" if hint else message)


def _convert(tree: Any, depth: int) -> Node:
    if depth > _MAX_DEPTH:
        _refuse(f"nesting deeper than {_MAX_DEPTH} levels")
    match type(tree).__name__:
        case "NumberLiteral":
            return Number(tree.val)
        case "StringLiteral":
            return Text(tree.val)
        case "ParenExpr":
            return _convert(tree.expr, depth + 1)
        case "UnaryExpr":
            return Negation(_convert(tree.expr, depth + 1))
        case "VectorSelector":
            return _selector(tree, 0)
        case "MatrixSelector":
            return _selector(tree.vector_selector, _milliseconds(tree.range))
        case "SubqueryExpr":
            return Subquery(
                expression=_convert(tree.expr, depth + 1),
                range_ms=_milliseconds(tree.range),
                step_ms=_milliseconds(tree.step),
                offset_ms=_milliseconds(tree.offset),
                at=_at(tree.at),
            )
        case "Call":
            return _call(tree, depth)
        case "AggregateExpr":
            return _aggregate(tree, depth)
        case "BinaryExpr":
            return _binary(tree, depth)
        case other:
            _refuse(other)


def _milliseconds(duration: dt.timedelta | None) -> int:
    return 0 if duration is None else round(duration / dt.timedelta(milliseconds=1))


def _at(modifier: Any) -> At:
    if modifier is None:
        return None
    match str(modifier.type).rpartition(".")[2]:
        case "Start":
            return "start"
        case "End":
            return "end"
        case _:
            fixed: dt.datetime = modifier.at
            epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
            return _milliseconds(fixed - epoch)


def _selector(tree: Any, range_ms: int) -> Selector:
    if tree.matchers.or_matchers:
        _refuse("'or' between matchers", "use the 'or' operator between two selectors")
    matchers = [
        Matcher(item.name, _MATCH_OPS[str(item.op).rpartition(".")[2]], item.value) for item in tree.matchers.matchers
    ]
    if tree.name:
        matchers.append(Matcher(METRIC_NAME, "=", tree.name))
    return Selector(tuple(matchers), range_ms, _milliseconds(tree.offset), _at(tree.at))


def _call(tree: Any, depth: int) -> Call:
    name: str = tree.func.name
    if name not in functions.NAMES:
        near = nearest(name, functions.NAMES)
        _refuse(f"function {name}()", f"did you mean {near}()?" if near else "")
    arguments = tuple(_convert(argument, depth + 1) for argument in tree.args)
    value_kind = str(tree.func.return_type).rpartition(".")[2].lower()
    return Call(name, arguments, value_kind)


def _aggregate(tree: Any, depth: int) -> Aggregate:
    op = str(tree.op)
    if op not in AGGREGATIONS:
        _refuse(f"aggregation {op}()")
    parameter = None if tree.param is None else _convert(tree.param, depth + 1)
    if op == "count_values" and not isinstance(parameter, Text):
        raise QueryError("count_values() needs a label name in quotes as its first argument")
    modifier = tree.modifier
    return Aggregate(
        op=op,
        expression=_convert(tree.expr, depth + 1),
        parameter=parameter,
        labels=() if modifier is None else tuple(modifier.labels),
        without=modifier is not None and str(modifier.type).endswith("Without"),
    )


def _binary(tree: Any, depth: int) -> Binary:
    left, right = _convert(tree.lhs, depth + 1), _convert(tree.rhs, depth + 1)
    modifier = tree.modifier
    if modifier is not None and (modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None):
        _refuse("fill()", "use 'or' with a default")
    if modifier is not None and modifier.matching is not None and {kind(left), kind(right)} != {"vector"}:
        raise QueryError("vector matching only allowed between instant vectors")
    return Binary(
        op=str(tree.op),
        left=left,
        right=right,
        matching=_matching(modifier),
        return_bool=modifier is not None and modifier.return_bool,
    )


def _matching(modifier: Any) -> Matching:
    if modifier is None or modifier.matching is None:
        return Matching(on=False, labels=(), many="", include=())
    cardinality = str(modifier.card).rpartition(".")[2]
    labels = tuple(modifier.matching.labels)
    include = tuple(modifier.group_labels or ())
    on = str(modifier.matching.type).endswith("Include")
    both = sorted(set(labels) & set(include))
    if on and both:
        raise QueryError(f'label "{both[0]}" must not occur in ON and GROUP clause at once')
    many = {"ManyToOne": "left", "OneToMany": "right"}.get(cardinality, "")
    return Matching(on=on, labels=labels, many=many, include=include)
