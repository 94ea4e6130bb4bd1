"""The faults as data: what they say about themselves, and how wrong use is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook_lib.errors import LabError, ParameterError, UnknownNameError
from runbook_lib.lab.faults import registry
from runbook_lib.lab.faults.fault import Fault, Parameter
from runbook_lib.model import CAUSES

DOCUMENT = Path(__file__).parents[3] / "docs" / "lab.md"


def row(fault: Fault) -> str:
    """The line of the documentation that describes a fault."""
    sizes = [f"`{one.name}` {one.default}{' ' + one.unit if one.unit else ''}" for one in fault.parameters]
    cells = (fault.description, "; ".join(sizes) or "-", fault.evidence, fault.healed_by)
    return f"| `{fault.name}` | `{fault.cause}` | {' | '.join(cells)} |"


def test_documentation_shows_exactly_the_faults() -> None:
    """The table of docs/lab.md and the registry are the same, line by line."""
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text.split("| fault | cause |")[1].split("\n\n")[0].splitlines()[2:]
    assert [row(fault) for fault in registry.all_faults()] == table


@pytest.mark.parametrize("fault", registry.all_faults(), ids=lambda fault: fault.name)
def test_cause_is_one_of_the_vocabulary(fault: Fault) -> None:
    """Every fault should be found as a known cause."""
    assert fault.cause in CAUSES


@pytest.mark.parametrize("fault", registry.all_faults(), ids=lambda fault: fault.name)
def test_defaults_are_allowed(fault: Fault) -> None:
    """Every default passes the checks that a given value has to pass."""
    given = {one.name: one.default for one in fault.parameters}
    assert given == fault.values(given)


def test_text_of_a_command_line_becomes_the_parameter_s_type() -> None:
    """``-p name=value`` gives numbers where numbers are wanted."""
    assert {"sessions": 5, "hold_seconds": 0.5} == registry.get("lock_contention").values(
        {"sessions": "5", "hold_seconds": "0.5"}
    )


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        pytest.param("long_query", {"session": 1}, "Did you mean 'sessions'", id="unknown parameter"),
        pytest.param("long_query", {"sessions": "many"}, "must be a whole number", id="no number"),
        pytest.param("long_query", {"sessions": 0}, "must be from 1 to 20", id="out of range"),
        pytest.param("slow_dependency", {"seconds": "nan"}, "must be from 0 to 60", id="NaN"),
        pytest.param("redis_down", {"mode": "slow"}, "must be one of hang, stop", id="no choice"),
    ],
)
def test_wrong_parameters_are_refused(name: str, given: dict[str, Any], message: str) -> None:
    """A wrong size is refused with what is allowed, before anything happens."""
    with pytest.raises((ParameterError, UnknownNameError), match=message):
        registry.get(name).values(given)


def test_unknown_fault_names_the_nearest() -> None:
    """A typing error gets the nearest name."""
    with pytest.raises(UnknownNameError, match="Did you mean 'cpu_bound'"):
        registry.get("cpu-bound")


def test_fault_without_a_lab_is_refused(tmp_path: Path) -> None:
    """Without a running lab nothing is broken."""
    with pytest.raises(LabError, match="no lab is running"):
        registry.apply(tmp_path, "long_query", {})


def test_parameter_describes_its_bounds() -> None:
    """The JSON of a parameter holds its default, unit and bounds."""
    described = Parameter("seconds", 0.8, "s", "delay", 0, 60).to_json()
    assert (0.8, "s", 0, 60) == tuple(described[key] for key in ("default", "unit", "minimum", "maximum"))
