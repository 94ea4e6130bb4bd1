"""What a fault is: its parameters, the cause it should be found as, and how it is started and ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.errors import ParameterError, UnknownNameError
from runbook_lib.lab.faults.world import World

Value = float | int | str
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    """One size of a fault.

    Args:
        name: its name.
        default: used when it is not given; its type is the parameter's type.
        unit: of the value; empty for a count or a choice.
        description: what it sizes.
        minimum: smallest allowed number.
        maximum: largest allowed number.
        choices: allowed texts.
    """

    name: str
    default: Value
    unit: str
    description: str
    minimum: float = 0.0
    maximum: float = float("inf")
    choices: tuple[str, ...] = ()

    def parse(self, fault: str, given: Any) -> Value:
        """The value of the parameter's type.

        Raises:
            ParameterError: another type, out of range, or no allowed choice.
        """
        where = f"fault {fault}: parameter {self.name}"
        if self.choices:
            if given not in self.choices:
                raise ParameterError(f"{where} must be one of {', '.join(self.choices)}, not {given!r}")
            return str(given)
        try:
            value = type(self.default)(given)
        except (TypeError, ValueError):
            kind = "a whole number" if isinstance(self.default, int) else "a number"
            raise ParameterError(f"{where} must be {kind}, not {given!r}") from None
        if isinstance(value, int | float) and not self.minimum <= value <= self.maximum:
            raise ParameterError(f"{where} must be from {self.minimum:g} to {self.maximum:g}, not {given}")
        return value

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        described: dict[str, Any] = {"default": self.default, "unit": self.unit, "description": self.description}
        if self.choices:
            described["choices"] = list(self.choices)
        else:
            described["minimum"] = self.minimum
            if self.maximum != float("inf"):
                described["maximum"] = self.maximum
        return {"name": self.name, **described}


@dataclass(frozen=True)
class Fault:
    """One thing that can be broken.

    Args:
        name: as it is given on the command line.
        cause: cause id that an investigation should find first.
        description: what breaks, one sentence.
        evidence: what it leaves to be seen.
        healed_by: what ``heal`` does.
        start: breaks it; returns what ``end`` needs to know.
        end: undoes it completely, also when an investigator already undid a part.
        parameters: its sizes.
    """

    name: str
    cause: str
    description: str
    evidence: str
    healed_by: str
    start: Callable[[World, Values], dict[str, Any]]
    end: Callable[[World, Mapping[str, Any]], None]
    parameters: tuple[Parameter, ...] = ()

    def values(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """All parameters, from what was given and the defaults.

        Raises:
            UnknownNameError: a name that this fault does not have.
            ParameterError: a value that does not fit.
        """
        names = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in names:
                raise UnknownNameError("parameter", name, names, f"fault {self.name}")
        return {
            one.name: one.parse(self.name, given[one.name]) if one.name in given else one.default
            for one in self.parameters
        }

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as ``runbook lab faults --json`` prints it."""
        return {
            "name": self.name,
            "cause": self.cause,
            "description": self.description,
            "evidence": self.evidence,
            "healed_by": self.healed_by,
            "parameters": [one.to_json() for one in self.parameters],
        }
