"""A checked query: what the evaluator understands, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from runbook_lib.lab.metrics.labels import Matcher

At = int | str | None
"""A fixed evaluation time in milliseconds, ``"start"``, ``"end"``, or None for each step's own time."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number."""

    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """The series that all matchers accept.

    Attributes:
        range_ms: length of the window; 0 selects the latest sample instead.
    """

    matchers: tuple[Matcher, ...]
    range_ms: int
    offset_ms: int
    at: At


@dataclass(frozen=True, slots=True)
class Subquery:
    """An instant query evaluated over a window; ``step_ms`` 0 means the store's own interval."""

    expression: Node
    range_ms: int
    step_ms: int
    offset_ms: int
    at: At


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    name: str
    arguments: tuple[Node, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregation over series; ``without`` tells how ``labels`` are meant."""

    op: str
    expression: Node
    parameter: Node | None
    labels: tuple[str, ...]
    without: bool


@dataclass(frozen=True, slots=True)
class Matching:
    """How the series of two sides find each other.

    Attributes:
        on: whether ``labels`` are the ones compared, or the ones ignored.
        many: ``""`` for one to one, ``"left"`` or ``"right"`` for the side that may have many.
        include: labels copied from the side that has one.
    """

    on: bool
    labels: tuple[str, ...]
    many: str
    include: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator between two expressions; ``matching`` counts only between two vectors."""

    op: str
    left: Node
    right: Node
    matching: Matching
    return_bool: bool


@dataclass(frozen=True, slots=True)
class Negation:
    """Unary minus."""

    expression: Node


Node = Number | Text | Selector | Subquery | Call | Aggregate | Binary | Negation


def kind(node: Node) -> str:
    """The type of the node's value: ``scalar``, ``string``, ``vector`` or ``matrix``."""
    match node:
        case Number():
            return "scalar"
        case Text():
            return "string"
        case Selector():
            return "matrix" if node.range_ms else "vector"
        case Subquery():
            return "matrix"
        case Call():
            return node.kind
        case Aggregate():
            return "vector"
        case Binary():
            return "vector" if "vector" in (kind(node.left), kind(node.right)) else "scalar"
        case Negation():
            return kind(node.expression)
