"""A command of this machine as a guarded action: words without a shell, planned, approved, started exactly once."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import ActionRejectedError, OutcomeUnknownError
from runbook_lib.model import Environment, GuardResult, NoPlan, Plan
from runbook_lib.secrets import Redactor, secret_reason

if TYPE_CHECKING:
    from runbook_lib.actions.propose import Systems
    from runbook_lib.clients.tools import ToolsClient

KIND = "command"
_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,60}")
#: Programs that would read their arguments as a program of their own.
_INTERPRETERS = frozenset(
    {"sh", "bash", "zsh", "dash", "ksh", "fish", "eval", "exec", "source", "env", "xargs", "sudo", "su", "ssh", "perl"}
) | {"python", "python3"}
_NO_WAY_BACK = "none is known: write down how to undo it before approving"


def command(run: Systems, line: str, /, *, reads: bool = False, way_back: str = "", **values: object) -> Plan | NoPlan:
    """Plan to start a command.

    Args:
        run: where it acts.
        line: the words as one line; ``{name}`` stands for a value, which never becomes more than a part of one word.
        reads: whether it is known to change nothing; anything else needs a second person.
        way_back: how to undo it.
        values: name to value.

    Returns:
        The plan, or why there is none: a value is missing, or the line needs a shell or holds a secret.
    """
    words = shlex.split(line)
    missing = sorted(name for name in _names(line) if values.get(name, "") == "")
    if missing:
        return NoPlan(f"{words[0]} is not planned: {', '.join(missing)} is not given", ("Give it with -p name=value.",))
    argv = [word.format_map({name: str(value) for name, value in values.items()}) for word in words]
    if problem := _problem(argv, words):
        return NoPlan(f"{words[0]} is not planned: {problem}", ("Carry it out by hand.",))
    return Plan(
        kind=KIND,
        service=run.service.name,
        environment=run.environment.name,
        target=f"command/{argv[0]}",
        before={},
        after={"argv": argv, "reads": reads},
        preconditions={},
        effect=f"starts {argv[0]} on this machine{'; it only reads' if reads else ''}",
        way_back=way_back or ("nothing is changed" if reads else _NO_WAY_BACK),
        command=shlex.join(argv),
        warnings=() if reads else ("nothing holds the target still: what it changes was not observed before",),
        destructive=not reads,
    )


@dataclass(frozen=True, slots=True)
class Command:
    """The kind ``command``, bound to this machine."""

    tools: ToolsClient
    run: Systems
    _done: dict[str, Any] = field(default_factory=dict)

    def observe(self, plan: Plan) -> Plan | NoPlan:
        """The same plan: a command has no state of its own that could be observed."""
        return plan

    def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
        """Whether the program is here, and whether its words may stand on a command line."""
        argv = list(plan.after["argv"])
        place = self.tools.which(argv[0])
        yield GuardResult("the program is installed", bool(place), place or f"{argv[0]} is not on PATH")
        problem = _problem(argv, argv)
        yield GuardResult("words without a shell or a secret", not problem, problem or "none of them needs a shell")

    def send(self, plan: Plan) -> None:
        """Start it once.

        Raises:
            ActionRejectedError: it could not be started.
            OutcomeUnknownError: it ended with an error or not in time; what it did until then cannot be told.
        """
        endpoint = self.run.environment.endpoints.get("kubernetes")
        kubeconfig = str(endpoint.settings.get("kubeconfig", "")) if endpoint else ""
        done = self.tools.start(plan.after["argv"], kubeconfig=kubeconfig)
        self._done.update(done)
        if done["timed_out"] or done["exit_code"]:
            if plan.after["reads"]:
                raise ActionRejectedError(f"it only reads, and ended with exit code {done['exit_code']}")
            raise OutcomeUnknownError(f"{plan.after['argv'][0]} ended with exit code {done['exit_code']}")

    def read_back(self, plan: Plan) -> Mapping[str, Any]:
        """Its exit code and the end of what it wrote, without secrets."""
        return dict(self._done)


def _names(line: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(line) if name}


def _problem(argv: list[str], words: list[str]) -> str:
    """Why words must not be started; empty when they may.

    Args:
        argv: the words with their values.
        words: the words before the values were put in.
    """
    if not _PROGRAM.fullmatch(argv[0]) or argv[0] in _INTERPRETERS:
        return f"{argv[0]!r} would read its arguments as commands"
    for word, before in zip(argv, words, strict=True):
        if word.startswith("-") and not before.startswith("-"):
            return "a value begins with a dash and would be read as an option"
        if "\0" in word or "\n" in word:
            return "a value holds a line break"
        if secret_reason("", word) or Redactor().text(word) != word:
            return "a word looks like a secret, and every user of the machine can read a command line"
    return ""
