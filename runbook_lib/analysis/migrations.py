"""Does an older release still run on the schema that the data has by now; what cannot be told is refused.

missing = known - applied: the release waits for a migration that is not there. extra = applied - known: the schema is
ahead of the release, which is safe only when every one of them was declared to expand (add what an older release does
not see), and when the statements that the service ran still fit the schema.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runbook_lib.model import Check, Checks, CheckStatus, Evidence, Gap

GROUP = "schema"
NAME = "the schema fits the release"
_REQUIRED = "no migration is missing, dirty or locked, and the release accepts all that it does not know"
#: Tools that keep the newest migration only; what came before it follows from the order of all.
_NEWEST_ONLY = frozenset({"golang-migrate", "alembic"})
_FORWARD = "mend it forward with a new release, or return to one that fits"


def fits(
    migrations: Evidence | Gap,
    *,
    known: Sequence[str] | None,
    expand: Collection[str] = (),
    order: Sequence[str] = (),
    prepared: Evidence | Gap | None = None,
    until: float | None = None,
) -> Check:
    """Whether a release may run on the live schema.

    Args:
        migrations: what each migration tool has applied.
        known: migrations in the image of that release, oldest first; None when nobody declared them.
        expand: migrations whose authors declared ``compat: expand``.
        order: all migrations up to the newest release, oldest first; needed by tools that keep only the newest one.
        prepared: whether the statements that the service ran still fit the schema; needed when the schema is ahead.
        until: when a later release took over, epoch seconds: what was first asked after it is not of that release.

    Returns:
        Passed only when it is known to fit; failed or unknown otherwise, and both refuse.
    """
    if isinstance(migrations, Gap):
        return _check(CheckStatus.UNKNOWN, migrations.reason, "read it again when the database answers")
    if known is None:
        return _check(CheckStatus.UNKNOWN, "nobody declared which migrations the release knows", "declare them")
    tools = list(migrations.document.get("tools", ()))
    stuck = [f"{tool['tool']} at {tool.get('newest')}" for tool in tools if tool.get("dirty") or tool.get("locked")]
    if stuck:
        fix = "let the migration end, or mend it by hand; nobody may go on before"
        return _check(CheckStatus.FAILED, f"{', '.join(stuck)} stopped half-way or holds its lock", fix)
    if len(tools) != 1:
        told = f"{len(tools)} migration tools left a table"
        return _check(CheckStatus.UNKNOWN, told, "declare which one the service uses: give it a database of its own")
    return _held(tools[0], known, expand, order, prepared, until)


def declared(accepts: Mapping[str, Sequence[object]], tag: str) -> dict[str, Any]:
    """``known``, ``expand`` and ``order`` of a release for ``fits``, from what the catalogue declares of all releases.

    Args:
        accepts: release to the newest migrations on which it runs, its own one first.
        tag: the release; one that is not declared knows nothing that could be told.
    """
    lists = {name: [str(one) for one in values] for name, values in accepts.items() if values}
    order = list(dict.fromkeys(one for values in lists.values() for one in values))
    if tag not in lists:
        return {"known": None, "order": order}
    own, *expand = lists[tag]
    return {"known": order[: order.index(own) + 1], "expand": expand, "order": order}


def releases_that_fit(
    migrations: Evidence | Gap, prepared: Evidence | Gap, *, accepts: Mapping[str, Sequence[object]]
) -> Checks:
    """Which releases may run on the live schema: one line for each, and one that says whether there is any.

    Args:
        migrations: what the migration tool has applied.
        prepared: whether the statements that the service ran still fit the schema.
        accepts: release to the newest migrations on which it runs, its own one first; migrations of later releases in
            it are declared to expand.
    """
    told = [
        replace(
            fits(migrations, prepared=prepared, **declared(accepts, tag)),
            name=f"release {tag}",
            required="runs on the live schema",
            needed=False,
        )
        for tag, values in accepts.items()
        if values
    ]
    good = [check.name.removeprefix("release ") for check in told if check.status is CheckStatus.PASSED]
    required = "at least one release is known to run on the live schema"
    if good:
        return Checks((*told, Check(GROUP, "a release fits", CheckStatus.PASSED, ", ".join(good), required)))
    open_ = any(check.status is CheckStatus.UNKNOWN for check in told) or not told
    status = CheckStatus.UNKNOWN if open_ else CheckStatus.FAILED
    fix = "keep what runs, do not scale up, and mend it forward; or restore, which loses data"
    observed = "none can be told" if open_ else "none"
    return Checks((*told, Check(GROUP, "a release fits", status, observed, required, fix)))


def _held(
    tool: Mapping[str, Any],
    known: Sequence[str],
    expand: Collection[str],
    order: Sequence[str],
    prepared: Evidence | Gap | None,
    until: float | None,
) -> Check:
    applied = _applied(tool, known, order)
    if applied is None:
        told = f"{tool['tool']} is at {tool.get('newest')}, and what lies between is not declared"
        return _check(CheckStatus.UNKNOWN, told, "declare the order of all migrations")
    if missing := [one for one in known if one not in applied]:
        return _check(CheckStatus.FAILED, f"not applied: {', '.join(missing)}", "apply them before that release starts")
    extra = [one for one in applied if one not in known]
    if not extra:
        return _check(CheckStatus.PASSED, f"{tool['tool']} is at {tool.get('newest')}, which the release knows")
    if contract := [one for one in extra if one not in expand]:
        told = f"ahead of the release, and not declared to expand: {', '.join(contract)}"
        return _check(CheckStatus.FAILED, told, _FORWARD)
    return _parsed(extra, prepared, until)


def _applied(tool: Mapping[str, Any], known: Sequence[str], order: Sequence[str]) -> list[str] | None:
    """Everything that is applied, oldest first; None when a tool that keeps only the newest one leaves it open."""
    applied = [str(one) for one in tool["applied"]]
    if tool["tool"] not in _NEWEST_ONLY:
        return applied
    if len(applied) != 1:
        # No row: nothing is applied. Several heads: their common past is not a line.
        return [] if not applied else None
    newest = applied[0]
    line = order if newest in order else known
    return list(line[: list(line).index(newest) + 1]) if newest in line else None


def _parsed(extra: Sequence[str], prepared: Evidence | Gap | None, until: float | None) -> Check:
    """What the server says to the statements of the service, when all the migrations that are ahead should expand."""
    ahead = f"ahead of the release by {', '.join(extra)}, declared to expand"
    if prepared is None or isinstance(prepared, Gap):
        reason = prepared.reason if isinstance(prepared, Gap) else "not asked"
        told = f"{ahead}; whether its statements still fit is not known: {reason}"
        return _check(CheckStatus.UNKNOWN, told, "read it again when the database answers")
    rows = [row for row in prepared.table.records() if until is None or float(row.get("first_seen") or 0.0) <= until]
    broken = [row for row in rows if row["status"] == "broken"]
    if broken:
        first = broken[0]
        told = f"{ahead}, but {len(broken)} of {len(rows)} statements no longer fit: {first['problem']}"
        return _check(CheckStatus.FAILED, told, _FORWARD)
    if not any(row["status"] == "fits" for row in rows):
        return _check(
            CheckStatus.UNKNOWN, f"{ahead}; no statement of the service was seen", "let it run, and ask again"
        )
    untold = sum(row["status"] == "untold" for row in rows)
    more = f", {untold} cannot be told" if untold else ""
    return _check(CheckStatus.PASSED, f"{ahead}; {len(rows) - untold} of {len(rows)} statements fit{more}")


def _check(status: CheckStatus, observed: str, fix: str = "") -> Check:
    return Check(GROUP, NAME, status, observed, _REQUIRED, fix)
