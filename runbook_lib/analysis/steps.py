"""Steps of a runbook as checks: a system answered, an answer is as the page expects, a number is below its limit."""

from __future__ import annotations

from runbook_lib.model import Check, CheckStatus, Evidence, Gap, NoPlan, Plan
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.units import format_value

GROUP = "step"


def answered(step: str, answer: Evidence | Gap) -> Check:
    """That a step was carried out: its system answered. What the answer means is for the findings to say.

    Args:
        step: the instruction, as the page words it.
        answer: what was read for it.
    """
    if isinstance(answer, Gap):
        return Check(GROUP, step, CheckStatus.UNKNOWN, answer.reason, "an answer", "read it by hand")
    return Check(GROUP, step, CheckStatus.PASSED, str(answer), "an answer")


def expected(step: str, answer: Evidence | Gap, **wanted: Scalar) -> Check:
    """That one field of an answer is as the page expects it; of a table, the first row counts.

    Args:
        step: the instruction, as the page words it.
        answer: what was read for it.
        wanted: one field and its expected value; an empty text means that the person gave none to compare with.
    """
    (field, value), *_ = wanted.items()
    required = f"{field} is {value}"
    if isinstance(answer, Gap):
        return Check(GROUP, step, CheckStatus.UNKNOWN, answer.reason, required, "read it by hand")
    document = answer.document or next(iter(answer.table.records()), {})
    if field not in document:
        return Check(GROUP, step, CheckStatus.UNKNOWN, f"the answer has no {field}", required, "read it by hand")
    if document[field] in {None, ""}:
        return Check(GROUP, step, CheckStatus.UNKNOWN, f"{field} has no value yet", required, "run it again later")
    observed = f"{field} is {document[field]}"
    if value == "":
        return Check(
            GROUP, step, CheckStatus.SKIPPED, f"{observed}; nothing was given to compare it with", needed=False
        )
    same = str(document[field]).casefold() == str(value).casefold()
    return Check(GROUP, step, CheckStatus.PASSED if same else CheckStatus.FAILED, observed, required)


def below(step: str, answer: Evidence | Gap, limit: float) -> Check:
    """That the newest number of some evidence is below a limit.

    Args:
        step: the instruction, as the page words it.
        answer: series with one unit.
        limit: in the unit of the evidence.
    """
    if isinstance(answer, Gap):
        return Check(GROUP, step, CheckStatus.UNKNOWN, answer.reason, f"below {limit:g}", "read it by hand")
    required, now = f"below {format_value(limit, answer.unit)}", answer.latest
    if now.value is None:
        return Check(GROUP, step, CheckStatus.UNKNOWN, "no data", required, "wait for samples and run it again")
    passed = now.value < limit
    return Check(GROUP, step, CheckStatus.PASSED if passed else CheckStatus.FAILED, f"now {now}", required)


def planned(step: str, plan: Plan | NoPlan) -> Check:
    """That a change was planned; nothing is carried out by planning it.

    Args:
        step: the instruction, as the page words it.
        plan: what was planned for it.
    """
    if isinstance(plan, NoPlan):
        return Check(GROUP, step, CheckStatus.SKIPPED, plan.reason, "a plan", " ".join(plan.advice), needed=False)
    return Check(GROUP, step, CheckStatus.PASSED, f"planned, not applied: {plan.effect}", "a plan", needed=False)


def by_hand(step: str, why: str = "") -> Check:
    """That a step is left to a person, and why.

    Args:
        step: the instruction, as the page words it.
        why: why the notebook cannot do it.
    """
    return Check(GROUP, step, CheckStatus.SKIPPED, f"by hand{f': {why}' if why else ''}", needed=False)


def agrees(name: str, catalogue: object, page: str) -> Check:
    """That the catalogue means the same thing as the page, such as the same namespace.

    Args:
        name: what is compared.
        catalogue: its value there; None when it has none.
        page: its value in the runbook.
    """
    status = CheckStatus.PASSED if str(catalogue) == page else CheckStatus.FAILED
    fix = "" if status is CheckStatus.PASSED else f"correct the parameter, or workload.{name} in runbook.toml"
    return Check("catalogue", name, status, f"the catalogue says {catalogue}", f"{page}, as the page says", fix)
