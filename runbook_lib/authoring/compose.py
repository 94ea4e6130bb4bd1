"""From a draft to the cells of a notebook, in the shape that every notebook has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from runbook_lib.authoring.cells import Cell, Ids
from runbook_lib.authoring.draft import Draft, Step
from runbook_lib.authoring.judgement import judgement
from runbook_lib.authoring.writing import (
    MOST_LINES,
    WIDTH,
    assigned,
    call,
    filled,
    literal,
    markdown,
    markdown_block,
    sentence,
)

#: Things that one cell judges: a line each that reads, one each that judges, and two around them.
_JUDGED_TOGETHER = 4
#: Settings of the workload that say where a service runs.
_PLACE = ("namespace", "deployment", "release")
_SAYS = "## What does the evidence say?\n\nWhat could not be read comes first."
_BEHIND = "## What is behind it?\n\nWhat the page asks for, judged: each cause is found or ruled out by its number."
_GENERIC = re.compile(r"(?i)^(?:example|runbook|standard operating procedure|sop|template|playbook|[\s:/|-])+$")
#: What stands before an instruction that its page counts.
_COUNTED = re.compile(r"(?i)^(?:action|step)\s*\d+\s*[:.)-]\s*")


def build(draft: Draft, name: str, place: tuple[str, str] = ("api", "lab")) -> tuple[Cell, ...]:
    """The cells of a draft.

    Args:
        draft: the page, understood.
        name: of the runbook.
        place: service and environment that a run is about when nothing else is said.
    """
    return tuple(_Builder(draft, name, place).cells())


class _Builder:
    def __init__(self, draft: Draft, name: str, place: tuple[str, str]) -> None:
        self.draft, self.name, self.place, self.ids = draft, name, place, Ids()
        self.plans = [step for step in draft.steps if step.plan]
        self.left = [step for step in draft.steps if step.role == "plan" and not step.plan]
        self.shown: set[int] = set()
        self.above: set[str] = set()
        self.preflight = False

    def cells(self) -> Iterator[Cell]:
        yield Cell(self.ids.take("title"), self._title())
        yield Cell(self.ids.take("parameters"), self._parameters(), "parameters")
        yield Cell(self.ids.take("setup"), self._setup(), "setup")
        # Names that the fixed cells will need are theirs, whatever a heading of the page is called.
        fixed = {one: self.ids.take(one) for one in ("findings", "plan", "apply", "record")}
        yield from self._place()
        yield from self._evidence()
        yield from self._judgement()
        yield Cell(self.ids.take("what it says"), _SAYS)
        yield Cell(fixed["findings"], "run.findings", "findings")
        if self.plans or self.left:
            yield from self._changes(fixed["plan"], fixed["apply"])
        yield from self._after()
        yield from self._rest()
        yield Cell(fixed["record"], "run.close()", "record")

    def _title(self) -> str:
        draft, facts = self.draft, self.draft.facts
        heading = next((s.title for s in draft.sections if s.level and not _GENERIC.match(s.title)), "")
        first = next((s for s in draft.sections if s.level == 1), None)
        heading = first.title if first and not _GENERIC.match(first.title) else "" if first else heading
        heading = heading or self.name.replace("_", " ").capitalize()
        described = facts.values.get("description", "")
        meaning = draft.told.get("meaning") or described or f"What to do about: {heading}."
        impact = draft.told.get("impact", "Not said by the page that this was imported from.")
        when = draft.told.get("when") or f"Use it for: {heading}."
        names = ", ".join(step.name for step in self.plans)
        count = "one change" if len(self.plans) == 1 else f"{len(self.plans)} changes"
        changes = (
            f"Nothing by itself. It plans {count} ({names}) and applies at most one, the one that is named, only with "
            "an approval of exactly that plan."
            if self.plans
            else "Nothing."
        )
        contact = facts.tables.get("contacts", {}).get("primary", "").removeprefix("slack:")
        owner = ", ".join(filter(None, (facts.values.get("owner", ""), f"`{contact}`" if contact else "")))
        sections = {"Meaning": meaning, "Impact": impact, "When": when, "Changes": changes,
                    "Owner": owner or "not said by the page"}  # fmt: skip
        told = [f"**{key}.** {markdown(sentence(value))}" for key, value in sections.items()]
        return "\n\n".join((f"# {markdown(heading)}", *told))

    def _parameters(self) -> str:
        known = {
            "service": ("str", self.place[0], "service that this is about"),
            "environment": ("str", self.place[1], "where it runs"),
            "window_minutes": ("int", 60, "minutes of history to read"),
        }
        for name, value in ((name, self.draft.literals[name]) for name in _PLACE if name in self.draft.literals):
            known[name] = ("str", value, f"{name} that the page means")
        known |= self.draft.parameters
        if self.plans:
            names = ", ".join(step.name for step in self.plans)
            known["change"] = ("str", "", f"the one change to make: {names}; empty makes none")
            known["approval"] = ("str", "", "file of an approval of exactly one plan; empty plans only")
        lines = []
        for name, (kind, default, description) in known.items():
            line = f"{name}: {kind} = {literal(default)}  # {' '.join(description.split())}"
            lines.append(line if len(line) <= WIDTH else line[: WIDTH - 1].rstrip() + "…")
        return "\n".join(lines)

    def _setup(self) -> str:
        used = ["Run", *(["actions"] if self.plans else []), "analysis"]
        start = call("Run.start", [literal(self.name), "service=service", "environment=environment",
                                   "minutes=window_minutes"])  # fmt: skip
        return "\n".join((f"from runbook_lib import {', '.join(used)}", "", f"run = {start[0]}", *start[1:], "run"))

    def _place(self) -> Iterator[Cell]:
        """Whether catalogue and page mean the same place: a page that went stale must not act elsewhere."""
        known = [name for name in _PLACE if name in self.draft.literals]
        checks = [f'analysis.agrees("{name}", run.service.workload.get("{name}"), {name})' for name in known]
        if checks:
            yield Cell(self.ids.take("the same place"), "\n".join(call("run.check", checks)), "evidence")

    def _evidence(self) -> Iterator[Cell]:
        for index, section in enumerate(self.draft.sections):
            lines = [_check(step) for step in self.draft.steps if step.section == index and step.role == "evidence"]
            needs = self.draft.classes[index] == "needs"
            asks = [group for group in self._groups() if needs and not self.preflight]
            if not lines and not asks:
                continue
            title = section.title or self.name.replace("_", " ")
            question = f"Is everything there that “{title}” names?" if needs else f"What does “{title}” show?"
            yield Cell(self.ids.take(title), f"## {markdown(question)}\n\n{self._told(index)}".rstrip())
            yield from self._checks(lines, f"steps of {title}", "evidence")
            if asks:
                self.preflight = True
                groups = ", ".join(f'"{group}"' for group in asks)
                yield Cell(self.ids.take(f"{' and '.join(asks)} of {title}"), f"run.preflight({groups})", "evidence")

    def _judgement(self) -> Iterator[Cell]:
        judged = judgement(self.draft)
        if judged:
            yield Cell(self.ids.take("what is behind it"), _BEHIND)
        for start in range(0, len(judged), _JUDGED_TOGETHER):
            reads, judges = zip(*judged[start : start + _JUDGED_TOGETHER], strict=True)
            yield Cell(self.ids.take("judgement"), "\n".join((*reads, *call("run.note", judges))), "evidence")

    def _groups(self) -> list[str]:
        """What a preflight asks for when a page lists access or tools; the catalogue says which of them."""
        facts = self.draft.facts
        return [*(["permissions"] if "access" in facts.lists else []), *(["tools"] if "tools" in facts.tables else [])]

    def _after(self) -> Iterator[Cell]:
        steps = [step for step in self.draft.steps if step.role == "verify"]
        if not steps:
            return
        parts = self._parts(steps)
        yield Cell(self.ids.take("did it help"), "\n\n".join(("## Does it hold now?", *parts)))
        yield from self._checks([_check(step) for step in steps], "verify", "verify")

    def _parts(self, steps: Sequence[Step]) -> list[str]:
        """Sections of some steps that no cell shows yet, each under its heading."""
        new = [index for index in dict.fromkeys(step.section for step in steps) if index not in self.shown]
        return [f"### {markdown(self.draft.sections[index].title)}\n\n{self._told(index)}" for index in new]

    def _told(self, index: int) -> str:
        if index in self.shown:
            return ""
        self.shown.add(index)
        section = self.draft.sections[index]
        # A heading that has no text of its own would be nowhere else.
        bare = {one.title for one in self.draft.sections if not one.source.strip()}
        above = [title for title in section.above if title in bare and title not in self.above]
        self.above.update(above)
        lead = f"*{markdown(' / '.join(above))}*\n\n" if above else ""
        return lead + markdown_block(section.source)

    def _checks(self, lines: Sequence[str], title: str, tag: str) -> Iterator[Cell]:
        most = MOST_LINES - 2
        for start in range(0, len(lines), most):
            source = "\n".join(call("run.check", list(lines[start : start + most])))
            yield Cell(self.ids.take(title), source, tag)

    def _changes(self, plan_id: str, apply_id: str) -> Iterator[Cell]:
        head = ["## What would change, and how is it undone?"]
        if self.plans:
            head.append("At most one of these plans is applied: the one that the parameter `change` names.")
        yield Cell(self.ids.take("what would change"), "\n\n".join((*head, *self._parts([*self.plans, *self.left]))))
        groups: list[list[Step]] = []
        for step in (*self.plans, *self.left):
            if groups and len(_planned([*groups[-1], step])) <= MOST_LINES:
                groups[-1].append(step)
            else:
                groups.append([step])
        for number, group in enumerate(groups):
            name = "more plans" if any(step.plan for step in group) else "by hand"
            yield Cell(self.ids.take(name) if number else plan_id, "\n".join(_planned(group)), "plan")
        if self.plans:
            chosen = ["change", *(f"{step.name}={step.name}_plan" for step in self.plans)]
            yield self._apply(apply_id, chosen)

    def _apply(self, apply_id: str, chosen: Sequence[str]) -> Cell:
        inner = f"actions.choose({', '.join(chosen)})"
        lines = call("run.apply", [inner, "approval=approval"])
        if any(len(line) > WIDTH for line in lines):
            lines = ["chosen = actions.choose(", *filled(chosen), ")", "run.apply(chosen, approval=approval)"]
        return Cell(apply_id, "\n".join(lines), "action")

    def _rest(self) -> Iterator[Cell]:
        """What no cell shows yet: facts that went to the catalogue, and prose."""
        left = []
        for index, section in enumerate(self.draft.sections):
            if index not in self.shown and section.source.strip(" \n-"):
                head = markdown(section.title) or "Introduction"
                left.append(f"### {head}\n\n{self._told(index)}")
        if left:
            yield Cell(self.ids.take("what else"), "\n\n".join(("## What else does the page say?", *left)))


def _check(step: Step) -> str:
    room = WIDTH - 4 - len(f'analysis.{step.check}("",),') - sum(len(one) + 2 for one in step.arguments)
    words = " ".join(step.label.replace("`", "").split())
    label = _COUNTED.sub("", words).removesuffix(".") or words
    quoted = literal(label)
    while len(quoted) > max(room, 20):
        label = label[: -(len(quoted) - max(room, 20)) - 1].rstrip()
        quoted = literal(f"{label}…")
    return f"analysis.{step.check}({', '.join((quoted, *step.arguments))})"


def _planned(steps: Sequence[Step]) -> list[str]:
    lines: list[str] = []
    for step in (one for one in steps if one.plan):
        lines += assigned(f"{step.name}_plan", step.plan)
    return [*lines, *call("run.check", [_check(step) for step in steps])]
