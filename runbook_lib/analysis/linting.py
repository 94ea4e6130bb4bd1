"""What the statements of a migration do to the releases that run, and to the data: read from their text.

The rules are those of squawk (https://squawkhq.com/docs/rules) that say whether an older release still runs, what is
lost, and what is locked. They read the words that PostgreSQL's grammar gives these statements; SQL within functions is
not looked into.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runbook_lib.model import Check, Checks, CheckStatus, Evidence, Gap

GROUP = "migration"


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that a statement may do.

    Args:
        name: the rule, as squawk calls it where it has it.
        pattern: tells such a statement.
        problem: what it does.
        fix: what to do in its place.
        loses: whether data is gone afterwards.
    """

    name: str
    pattern: re.Pattern[str]
    problem: str
    fix: str
    loses: bool = False


def _rule(name: str, pattern: str, problem: str, fix: str, *, loses: bool = False) -> Rule:
    return Rule(name, re.compile(pattern, re.IGNORECASE | re.DOTALL), problem, fix, loses)


_LATER = "expand first: add the new one, let both releases write it, and take the old one away a release later"
RULES = (
    _rule("ban-drop-table", r"\bdrop\s+table\b", "a table is gone with all it holds", _LATER, loses=True),
    _rule("ban-drop-column", r"\bdrop\s+column\b", "a column is gone with all it holds", _LATER, loses=True),
    _rule("ban-truncate", r"^\s*truncate\b|^\s*delete\s+from\s+(?!\S*alembic_version)", "rows are gone", _LATER,
          loses=True),
    _rule("renaming-column", r"\brename\s+(column\b|(?!to\b|constraint\b)\S+\s+to\b)",
          "releases that know the old name fail", _LATER),
    _rule("renaming-table", r"\balter\s+table\b.*\brename\s+to\b", "releases that know the old name fail", _LATER),
    _rule("adding-required-field", r"\badd\s+(column\s+)?\S+\s+(?!.*\bdefault\b)(?!.*\bgenerated\b).*\bnot\s+null\b",
          "releases that do not give it cannot insert", "give it a default"),
    _rule("changing-column-type", r"\balter\s+(column\s+)?\S+\s+(set\s+data\s+)?type\b",
          "the table is rewritten under a lock, and releases may no longer fit", _LATER),
    _rule("adding-not-nullable-field", r"\bset\s+not\s+null\b", "the table is read whole under a lock",
          "add a check constraint that is not valid, validate it, then set not null"),
    _rule("require-concurrent-index-creation", r"\bcreate\s+(unique\s+)?index\s+(?!concurrently\b)",
          "nobody writes to the table until the index is built", "create it concurrently"),
    _rule("constraint-missing-not-valid",
          r"\badd\s+constraint\s+\S+\s+(check|foreign\s+key)\b(?!.*\bnot\s+valid\b)",
          "the table is read whole under a lock", "add it not valid, and validate it later"),
)  # fmt: skip


def statements(sql: str) -> tuple[str, ...]:
    """The statements of a script on one line each, without comments; a semicolon in a literal does not end one."""
    bare = re.sub(r"--[^\n]*|/\*.*?\*/", " ", sql, flags=re.DOTALL)
    parts = re.finditer(r"(?:'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|[^;'$]|\$)+", bare, flags=re.DOTALL)
    told = (" ".join(one.group(0).split()) for one in parts)
    return tuple(one for one in told if one and one.upper() not in {"BEGIN", "COMMIT"})


def losses(sql: str) -> tuple[str, ...]:
    """The statements of a script after which data is gone."""
    return tuple(one for one in statements(sql) if any(rule.loses and _does(rule, one) for rule in RULES))


def migration_lint(script: Evidence | Gap | None) -> Checks:
    """What a migration does to the releases that run: one line for each rule that a statement breaks, as advice.

    Args:
        script: what the migration tool would run; None when there is nothing to run.
    """
    if script is None:
        return Checks((_check("statements", CheckStatus.PASSED, "the release runs on the schema as it is"),))
    if isinstance(script, Gap):
        fix = "declare it in workload.schema, and name the tool in the environment: [migrations] tool, config"
        return Checks((_check("statements", CheckStatus.UNKNOWN, script.reason, fix),))
    every = statements(str(script.document["sql"]))
    found = [
        _check(rule.name, CheckStatus.FAILED, f"{rule.problem}: {one[:200]}", rule.fix)
        for one in every
        for rule in RULES
        if _does(rule, one)
    ]
    told = f"{len(every)} statements, none of which stands in the way of an older release or of traffic"
    return Checks(tuple(found) or (_check("statements", CheckStatus.PASSED, told),))


def _does(rule: Rule, statement: str) -> bool:
    """Whether a statement does what a rule is about; what its literals say is no part of it."""
    return rule.pattern.search(re.sub(r"'(?:[^']|'')*'", "''", statement)) is not None


def _check(name: str, status: CheckStatus, observed: str, fix: str = "") -> Check:
    return Check(GROUP, name, status, observed, "older releases run on, nothing is lost or locked", fix, needed=False)
