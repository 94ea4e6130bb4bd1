"""From a page to a draft: every instruction becomes a step, check, plan, parameter or catalogue entry, or is listed."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from runbook_lib.authoring import commands, instructions, shell
from runbook_lib.authoring.facts import Facts
from runbook_lib.authoring.markdown import Block, Section, is_shell, parse, plain
from runbook_lib.secrets import Redactor, secret_reason

#: Class of a section to the words of its heading, the first that fits.
_CLASSES: tuple[tuple[str, str], ...] = (
    ("meaning", r"^(?:meaning|overview|summary|about|purpose|background|context|description|introduction)"),
    ("impact", r"^impact|user impact|customer impact|blast radius"),
    ("needs", r"dependenc|prerequisit|requirement|before you (?:start|begin)|access|tools?\b"),
    ("catalogue", r"dashboard|\bslos?\b|ownership|service overview|links|contacts?$"),
    ("verify", r"verif|validat|post-?(?:fix|deploy|check)|confirm|smoke|after the"),
    ("escalation", r"escalat|on-?call|who to (?:call|contact)"),
    ("change", r"mitigat|remediat|resolution|resolve|\bfix|roll ?back|recover|restore|procedure|response"),
    ("change", r"deploy|pipeline|execut|restart|action|steps"),
    ("diagnosis", r"diagnos|investigat|triage|symptom|check|identify|debug|troubleshoot|analysis|scenario"),
    ("diagnosis", r"alert|detect"),
    ("notes", r""),
)  # fmt: skip
_STEPS = frozenset({"needs", "verify", "change", "diagnosis"})
_PROGRAMS = frozenset({
    *commands.READS, "curl", "psql", "make", "ansible", "ansible-playbook", "gcloud", "az", "argocd", "flux",
    "istioctl", "mysql", "mongosh", "pg_dump", "vault", "ssh", "rm", "kill", "promtool", "amtool", "stern", "nomad",
    "consul", "sudo",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Instruction:
    """What became of one thing that the page says.

    Args:
        line: in the page, from 1.
        text: as the page words it.
        became: ``step``, ``check``, ``plan``, ``parameter``, ``catalogue``, ``title`` or ``text`` (not understood).
        by_hand: why it is left to a person; empty when the notebook does it.
    """

    line: int
    text: str
    became: str
    by_hand: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a cell.

    Args:
        section: index of its section.
        role: ``evidence``, ``plan`` or ``verify``.
        label: the instruction in a few words.
        check: function of ``analysis`` that judges it.
        arguments: what it gets after the label.
        plan: expression of the plan; empty unless ``role`` is ``plan``.
        name: name of the plan.
    """

    section: int
    role: str
    label: str
    check: str
    arguments: tuple[str, ...] = ()
    plan: str = ""
    name: str = ""


@dataclass(slots=True)
class Draft:
    """A page, understood.

    Args:
        sections: of the page.
        classes: class of each section.
        steps: in the order of the page.
        instructions: everything that the page says, with what became of it.
        parameters: name to ``(type, default, description)``.
        literals: setting of the workload to the page's value.
        facts: for the catalogue.
        kinds: kinds of action that may be planned.
        told: class of a section to what it says in words.
        secrets: lines that looked like a secret and were redacted.
    """

    sections: tuple[Section, ...]
    classes: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    parameters: dict[str, tuple[str, object, str]] = field(default_factory=dict)
    literals: dict[str, str] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    kinds: list[str] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    secrets: list[int] = field(default_factory=list)

    def lost(self) -> tuple[int, ...]:
        """Lines of the page that say something and of which nothing became anything; none, if all is well."""
        listed = {one.line for one in self.instructions}
        said = [line for section in self.sections for block in section.blocks for line in _lines(block)]
        return tuple(line for line in said if line not in listed)

    def not_understood(self) -> tuple[Instruction, ...]:
        """What stays as text, for a person to read."""
        return tuple(one for one in self.instructions if one.became == "text")


def read(text: str, *, where: str = "") -> Draft:
    """Understand a page. Nothing in it is run, and no secret in it is kept.

    Args:
        text: the page.
        where: the file, for messages.

    Raises:
        UsageError: it is no page for people.
    """
    clean, lines = _redacted(text)
    draft = Draft(parse(clean, where=where), secrets=lines)
    for index, section in enumerate(draft.sections):
        draft.classes.append(_class(section))
        _Reader(draft, index).read()
    return draft


def _redacted(text: str) -> tuple[str, list[int]]:
    redactor = Redactor()
    clean = redactor.text(text)
    pairs = zip(text.splitlines(), clean.splitlines(), strict=False)
    return clean, [number for number, (before, after) in enumerate(pairs, start=1) if before != after]


def _class(section: Section) -> str:
    for title in (section.title, *reversed(section.above)):
        found = next(name for name, pattern in _CLASSES if re.search(pattern, title.lower()))
        if found != "notes":
            return found
    return "notes"


class _Reader:
    """Reads one section into the draft."""

    def __init__(self, draft: Draft, index: int) -> None:
        self.draft, self.index = draft, index
        self.section, self.kind = draft.sections[index], draft.classes[index]
        self.changed = False

    def read(self) -> None:
        """Every block of the section."""
        for block in self.section.blocks:
            if block.kind == "code":
                self._code(block)
            elif block.label:
                continue
            else:
                self._sentence(block)

    def _code(self, block: Block) -> None:
        label = plain(block.lead).rstrip(":")
        first = block.line + 1
        if not is_shell(block) or block.language.lower() == "promql":
            self._list(block.line, block.text.strip(), "text")
            return
        if block.language.lower() == "sql":
            found: list[shell.Command | shell.Remark] = [
                shell.Command(f"psql -c '{part}'", ("psql", "-c", part), line=block.line)
                for part in _statements(block.text)
            ]
        else:
            found = list(shell.read(block.text, first))
        remark = ""
        for one in found:
            if isinstance(one, shell.Remark):
                remark = one.text
                continue
            self._command(one, ": ".join(filter(None, (label, remark))))
            remark = ""

    def _sentence(self, block: Block) -> None:
        text = plain(block.text)
        inline = _inline_commands(block)
        fact = self.draft.facts.take(block, self.section.title) if not inline else False
        symptom = re.match(r"(?i)symptoms?\b[\s*:]*(.*)", text)
        if symptom:
            self.draft.told.setdefault("when", symptom[1].strip())
            self._list(block.line, text, "title")
        elif inline:
            for one in inline:
                self._command(one, text, label=_without_commands(text))
        elif (question := instructions.understand(text)) and (block.kind == "item" or self.kind in _STEPS):
            self._question(block, text, question)
        elif fact:
            self._list(block.line, text, "catalogue")
        elif self._asks(block, text):
            self._step("by_hand", text)
            self._list(block.line, text, "step", "only a person can judge it")
        else:
            self._told(block, text)

    def _question(self, block: Block, text: str, question: instructions.Question) -> None:
        word = instructions.expected_word(text)
        if question.limit is not None:
            self._step("below", text, question.call, f"{question.limit:g}")
        elif word and "service_probe" in question.call:
            self._step("expected", text, question.call, f'status="{word}"')
        else:
            self._step("answered", text, question.call)
        self._list(block.line, text, "check" if question.limit is not None or word else "step")

    def _asks(self, block: Block, text: str) -> bool:
        """Whether a sentence tells a person to do something."""
        if block.checkbox or re.match(r"(?i)(?:\W*warning|\W*caution|\W*important|\W*note)\b", text):
            return True
        return block.kind == "item" and self.kind in {*_STEPS, "escalation"} and len(text) > 3

    def _told(self, block: Block, text: str) -> None:
        if self.kind in {"meaning", "impact"}:
            told = self.draft.told
            told[self.kind] = f"{told[self.kind]} {text}" if self.kind in told else text
            self._list(block.line, text, "title")
        else:
            self._list(block.line, text, "text")

    def _command(self, command: shell.Command, sentence: str, *, label: str = "") -> None:
        label = label or sentence
        meaning = commands.understand(command)
        draft = self.draft
        draft.facts.secrets += meaning.secrets
        draft.literals = {**meaning.literals, **draft.literals}
        for name, value in draft.literals.items():
            draft.facts.tables.setdefault("workload", {}).setdefault(name, value)
        for name, wanted in meaning.parameters.items():
            self._parameter(name, wanted)
        if command.assigns and not commands.is_secret_name(command.assigns):
            wanted = ("str", command.value, f"{label or command.assigns} (line {command.line})".replace("#", ""))
            self._parameter(shell.identifier(command.assigns), wanted)
        text = command.text if not command.assigns else command.text.removeprefix("export ")
        label = label or command.text
        if meaning.by_hand:
            self._step("by_hand", label, f'"{meaning.by_hand}"')
            self._list(command.line, text, "step", meaning.by_hand)
            self.changed = self.changed or meaning.changes
        elif meaning.call:
            self._read(command, meaning, label, instructions.expected_word(sentence))
        elif meaning.plan:
            self._plan(command, meaning, label)
        else:
            self._list(command.line, text, "parameter" if command.assigns or meaning.parameters else "title")

    def _read(self, command: shell.Command, meaning: commands.Meaning, label: str, word: str) -> None:
        wanted = command.expected or word
        value = _expected(wanted, meaning.looks_at)
        became = "check" if value else "parameter" if command.assigns else "step"
        if value and meaning.looks_at:
            self._step("expected", label, meaning.call, f"{meaning.looks_at}={value}")
        else:
            self._step("answered", label, meaning.call)
            if wanted:
                self._step("by_hand", f"{label}: compare with {wanted}", '"the page wants this answer"')
        self._list(command.line, command.text, became)
        if command.expected:
            self._list(command.line + 1, f"Expected output: {command.expected}", "check")

    def _plan(self, command: shell.Command, meaning: commands.Meaning, label: str) -> None:
        draft = self.draft
        if meaning.kind not in draft.kinds:
            draft.kinds.append(meaning.kind)
        same = next((step for step in draft.steps if step.plan == meaning.plan), None)
        if same is None:
            kind = "" if meaning.kind == "command" else meaning.kind
            name = _plan_name(command, kind, {step.name for step in draft.steps if step.plan})
            draft.steps.append(Step(self.index, "plan", label, "planned", (f"{name}_plan",), meaning.plan, name))
        self._list(command.line, command.text, "plan")
        if command.expected:
            self._step("by_hand", f"{label}: compare with {command.expected}", '"the page wants this answer"')
            self._list(command.line + 1, f"Expected output: {command.expected}", "check", "it belongs to a change")
        self.changed = self.changed or meaning.changes

    def _step(self, check: str, label: str, *arguments: str) -> None:
        after = self.kind == "verify" or (self.changed and self.kind == "change")
        role = "verify" if after else "evidence"
        if check == "by_hand" and self.kind not in {"verify", "diagnosis", "needs"}:
            role = "plan"
        step = Step(self.index, role, label, check, arguments)
        if step not in self.draft.steps:
            self.draft.steps.append(step)

    def _parameter(self, name: str, wanted: tuple[str, object, str]) -> None:
        if name in {"service", "environment", "window_minutes", "approval", "change"}:
            return
        known = self.draft.parameters.get(name)
        if known is None or (known[1] in {"", 0} and wanted[1] not in {"", 0}):
            if secret_reason(name, str(wanted[1])):
                wanted = (wanted[0], "", wanted[2])
            self.draft.parameters[name] = wanted if known is None or known[0] == wanted[0] else known

    def _list(self, line: int, text: str, became: str, by_hand: str = "") -> None:
        self.draft.instructions.append(Instruction(line, text, became, by_hand))


def _lines(block: Block) -> Iterator[int]:
    """The lines of a block that say something of their own: a label and a remark belong to what follows them."""
    if block.kind != "code":
        yield from () if block.label else (block.line,)
    elif not is_shell(block) or block.language.lower() in {"sql", "promql"}:
        yield block.line
    else:
        found = shell.read(block.text, block.line + 1)
        yield from (one.line for one in found if isinstance(one, shell.Command))


def _inline_commands(block: Block) -> list[shell.Command]:
    """Commands that stand in backticks within a sentence."""
    found = []
    for code in re.findall(r"`([^`]+)`", block.text):
        words = code.split()
        if len(words) > 1 and words[0].lstrip("$ ") in _PROGRAMS:
            found += [replace(one, line=block.line) for one in shell.read(code) if isinstance(one, shell.Command)]
    return found


def _without_commands(text: str) -> str:
    """A sentence without the commands in it, which its step carries out."""
    bare = re.sub(r"\s*\(`[^`]*\s[^`]*`\)|:?\s*`[^`]*\s[^`]*`", "", text).strip()
    return bare if len(bare) > 8 else text


def _statements(text: str) -> Iterator[str]:
    """Statements of an SQL block, comments removed; quotation marks keep their semicolons."""
    bare = re.sub(r"--[^\n]*", "", text)
    for part in re.findall(r"(?:'[^']*'|[^;'])+", bare):
        if part.strip():
            yield " ".join(part.split())


def _expected(wanted: str, looks_at: str) -> str:
    """The expected value as an expression; empty when the page's words are no value."""
    if looks_at == "complete":
        return "True" if not wanted or "success" in wanted or "complete" in wanted else ""
    text = wanted.strip().strip("`\"'")
    names = shell.variables(text)
    if names:
        return names[0] if re.fullmatch(r"(?i)(?:matches|equals|is|same as)?\s*[$<{]+[^\s]*[>}]*", text) else ""
    return f'"{text}"' if re.fullmatch(r"[\w.:-]{1,60}", text) else ""


def _plan_name(command: shell.Command, kind: str, taken: set[str]) -> str:
    words = [word for word in command.argv[:4] if re.fullmatch(r"[a-z][a-z-]*", word)]
    base = kind or "_".join(words[:2]).replace("-", "_") or "command"
    # The name becomes an argument of `actions.choose`, which a keyword cannot be.
    base = f"{base}_command" if keyword.iskeyword(base) else base
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name
