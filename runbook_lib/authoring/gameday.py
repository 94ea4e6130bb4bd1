"""Scores of a game day: every runbook against every way in which the lab can break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: Runbooks that judge whether the service is well: none of them may call it healthy while its users feel a fault.
JUDGES = ("high_latency", "preflight", "validate", "verify_fix")
#: The runbook that names the cause.
DIAGNOSIS = "high_latency"
NOTHING = "none"


@dataclass(frozen=True, slots=True)
class Score:
    """One runbook in one scenario.

    Args:
        scenario: name of the fault; ``none`` is the healthy service.
        runbook: name of the runbook.
        problems: what was wrong with the run; empty when it passed.
        verdict: of the run.
        cause: id of its first finding; empty without one.
        seconds: how long it took.
        record: name of its record.
    """

    scenario: str
    runbook: str
    problems: tuple[str, ...]
    verdict: str
    cause: str
    seconds: float
    record: str

    @property
    def passed(self) -> bool:
        """Whether the runbook did what it is for."""
        return not self.problems

    @property
    def told(self) -> str:
        """The problems in one line, or the verdict with the cause."""
        return "; ".join(self.problems) or (f"{self.verdict}, {self.cause}" if self.cause else self.verdict)

    def to_json(self) -> dict[str, Any]:
        """The fields, and ``passed``."""
        return {**asdict(self), "passed": self.passed}


def score(
    told: Mapping[str, Any],
    *,
    scenario: str,
    cause: str,
    felt: bool,
    broken_cells: Sequence[str],
    faults_of_record: Sequence[str],
    seconds: float,
) -> Score:
    """Judge one run.

    Args:
        told: what ``runbook run --json`` prints.
        scenario: name of the fault that was there.
        cause: the cause that a diagnosis must name first; ``none`` for the healthy service, ``unknown`` for a fault
            that only hides the evidence.
        felt: whether users felt the fault: an objective was broken.
        broken_cells: cells that ended with an error.
        faults_of_record: what ``records verify`` says against the record.
        seconds: how long the run took.
    """
    name, verdict = str(told["runbook"]), str(told["verdict"])
    first = str(told["findings"][0]["cause"]) if told["findings"] else ""
    problems = [f"cell {cell} ended with an error" for cell in broken_cells]
    problems += [f"the record does not verify: {one}" for one in faults_of_record]
    if told["outcomes"]:
        problems.append("it changed something without an approval")
    if name in JUDGES and scenario != NOTHING and felt and verdict == "healthy":
        problems.append("it calls the service healthy while users feel the fault")
    if name in JUDGES and scenario == NOTHING and (verdict, told["exit_code"]) != ("healthy", 0):
        problems.append(f"it calls a healthy service {verdict}, exit {told['exit_code']}")
    if name == DIAGNOSIS and cause == "unknown" and verdict != "unknown":
        problems.append(f"its evidence is gone and it says {verdict}")
    if name == DIAGNOSIS and cause not in {NOTHING, "unknown"} and first != cause:
        problems.append(f"it names {first or 'nothing'} first, not {cause}")
    return Score(scenario, name, tuple(problems), verdict, first, round(seconds, 1), str(told["run_id"]))


def page(scores: Sequence[Score], *, day: str) -> str:
    """The scored page as Markdown: a row for each scenario, a column for each runbook, and every problem in words.

    Args:
        scores: of the whole day.
        day: when it was, for the heading.
    """
    runbooks = list(dict.fromkeys(one.runbook for one in scores))
    scenarios = list(dict.fromkeys(one.scenario for one in scores))
    cell = {(one.scenario, one.runbook): one for one in scores}
    passed = sum(one.passed for one in scores)
    rows = [
        f"| {scenario} | {' | '.join(_mark(cell.get((scenario, name))) for name in runbooks)} |"
        for scenario in scenarios
    ]
    parts = [
        f"# Game day of {day}",
        f"**{passed} of {len(scores)}** runs did what they are for.",
        "\n".join([f"| Scenario | {' | '.join(runbooks)} |", f"|---|{'---|' * len(runbooks)}", *rows]),
        "## What went wrong",
        "\n".join(
            f"- {one.scenario}, {one.runbook} (`{one.record}`): {problem}" for one in scores for problem in one.problems
        )
        or "Nothing.",
    ]
    return "\n\n".join(parts) + "\n"


def _mark(one: Score | None) -> str:
    if one is None:
        return "not run"
    told = f"{one.verdict}{f', {one.cause}' if one.cause else ''}, {one.seconds:.0f} s"
    return f"{'✓' if one.passed else '✗'} {told}"
