"""A named, described question to one system, and the values it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from runbook_lib.errors import ParameterError, UnknownNameError
from runbook_lib.model.evidence import Scalar

#: Type names that a query file may use, and the Python type of their values.
TYPES: Mapping[str, type] = {"float": float, "int": int, "str": str, "bool": bool}


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """One value that a question takes.

    Args:
        name: its name in the text of the query.
        type: a key of ``TYPES``.
        default: the value when none is given.
        description: what it means, with its unit.
        minimum: least allowed number; None when there is no bound.
        maximum: largest allowed number; None when there is no bound.
    """

    name: str
    type: str
    default: Scalar
    description: str
    minimum: float | None = None
    maximum: float | None = None

    def check(self, value: Scalar) -> Scalar:
        """The value in its declared type.

        Raises:
            ParameterError: it is of another type, not finite, or out of bounds.
        """
        wanted = TYPES[self.type]
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise ParameterError(f"{self.name} must be {self.type}, not {value!r}")
        if isinstance(value, float | int) and not isinstance(value, bool):
            self._check_bounds(value)
        return value

    def _check_bounds(self, value: float) -> None:
        if not math.isfinite(value):
            raise ParameterError(f"{self.name} must be a finite number, not {value}")
        if self.minimum is not None and value < self.minimum:
            raise ParameterError(f"{self.name} must be at least {self.minimum:g}, not {value:g}")
        if self.maximum is not None and value > self.maximum:
            raise ParameterError(f"{self.name} must be at most {self.maximum:g}, not {value:g}")


@dataclass(frozen=True, slots=True)
class Query:
    """A named question.

    Args:
        source: the system it is for, such as ``"prometheus"``.
        name: its name, unique in the source.
        title: the question in words, as evidence shows it.
        description: what the answer tells, and where its limits are.
        text: the question in the system's own language, with placeholders.
        unit: unit of the answer's numbers, one of ``model.units.UNITS``.
        needed: whether a verdict needs the answer.
        parameters: name to parameter.
    """

    source: str
    name: str
    title: str
    description: str
    text: str
    unit: str = ""
    needed: bool = False
    parameters: Mapping[str, QueryParameter] = field(default_factory=dict)

    def bind(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Every parameter's value: the given one, checked, or the default.

        Raises:
            UnknownNameError: a name is no parameter of this query.
            ParameterError: a value does not fit.
        """
        for name in values:
            if name not in self.parameters:
                raise UnknownNameError("parameter", name, self.parameters, f"query {self.source}.{self.name}")
        return {name: one.check(values.get(name, one.default)) for name, one in self.parameters.items()}
