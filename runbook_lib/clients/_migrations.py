"""What migration tools wrote into a database: applied, dirty and locked, in the same words for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Callable[[str], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Tool:
    """How one tool keeps its state.

    Args:
        name: the tool.
        table: its table.
        columns: columns that tell it from another tool with a table of that name.
        statement: selects ``id`` and ``dirty`` of each migration that counts as applied, oldest first; ``{}`` is the
            table.
    """

    name: str
    table: str
    columns: frozenset[str]
    statement: str


#: The first that fits a table is taken.
TOOLS: Sequence[Tool] = (
    Tool(
        "golang-migrate",
        "schema_migrations",
        frozenset({"version", "dirty"}),
        "SELECT version::text AS id, dirty FROM {} ORDER BY version",
    ),
    Tool(
        "rails",
        "schema_migrations",
        frozenset({"version"}),
        "SELECT version::text AS id, false AS dirty FROM {} ORDER BY version",
    ),
    Tool(
        "alembic",
        "alembic_version",
        frozenset({"version_num"}),
        "SELECT version_num AS id, false AS dirty FROM {} ORDER BY 1",
    ),
    Tool(
        "django",
        "django_migrations",
        frozenset({"app", "name"}),
        "SELECT app || '.' || name AS id, false AS dirty FROM {} ORDER BY id",
    ),
    Tool(
        "flyway",
        "flyway_schema_history",
        frozenset({"installed_rank", "type", "success"}),
        # What was undone keeps its row, and gets another one; what is missing from the files may be marked deleted.
        "SELECT id, dirty FROM (SELECT coalesce(version, description) AS id, NOT success AS dirty, type,"
        " installed_rank, lead(type) OVER (PARTITION BY coalesce(version, description) ORDER BY installed_rank)"
        " AS later FROM {}) AS history"
        " WHERE dirty OR (type !~ '^(UNDO|DELETE)' AND coalesce(later, '') !~ '^(UNDO|DELETE)')"
        " ORDER BY installed_rank",
    ),
    Tool(
        "liquibase",
        "databasechangelog",
        frozenset({"id", "orderexecuted"}),
        "SELECT filename || '::' || id || '::' || author AS id, exectype = 'FAILED' AS dirty FROM {}"
        " ORDER BY orderexecuted",
    ),
    Tool(
        "prisma",
        "_prisma_migrations",
        frozenset({"migration_name", "finished_at"}),
        "SELECT migration_name AS id, finished_at IS NULL AS dirty FROM {} WHERE rolled_back_at IS NULL"
        " ORDER BY started_at",
    ),
)
_LOCK_TABLE = "databasechangeloglock"
_LOCKED = "SELECT bool_or(locked) AS locked FROM {}"


def read(tables: Sequence[Mapping[str, Any]], rows: Rows) -> dict[str, Any]:
    """The document of all tools that left a table.

    Args:
        tables: ``schema``, ``name`` and ``columns`` of the known tables that exist.
        rows: runs a statement and gives its rows.
    """
    locks = {row["schema"]: row for row in tables if row["name"] == _LOCK_TABLE}
    found = []
    for table in tables:
        tool = next((one for one in TOOLS if one.table == table["name"] and one.columns <= set(table["columns"])), None)
        if tool is None:
            continue
        place = _quoted(table["schema"], table["name"])
        applied = rows(tool.statement.format(place))
        locked = False
        if tool.name == "liquibase" and table["schema"] in locks:
            held = rows(_LOCKED.format(_quoted(table["schema"], _LOCK_TABLE)))
            locked = bool(held[0]["locked"])
        found.append(
            {
                "tool": tool.name,
                "table": f"{table['schema']}.{table['name']}",
                "applied": [row["id"] for row in applied if not row["dirty"]],
                "newest": applied[-1]["id"] if applied else None,
                "dirty": any(row["dirty"] for row in applied),
                "locked": locked,
            }
        )
    return {"found": bool(found), "tools": found}


def _quoted(*names: str) -> str:
    """A qualified name; schema names are the database's own data and may hold anything."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
