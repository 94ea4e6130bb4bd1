"""SQL of migrations that their authors wrote into files, put together in the order in which a tool runs it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from runbook_lib.errors import SourceAnswerError, SourceUnreachableError

_SOURCE = "migrations"
_GO = re.compile(r"(?P<version>\d+)_.*\.(?P<way>up|down)\.sql")
_GO_RECORD = "UPDATE schema_migrations SET version = {}, dirty = false WHERE version = {};"
_FLYWAY = re.compile(r"(?P<way>[VU])(?P<version>\d+(?:[._]\d+)*)__.*\.sql")
_CHANGESET = re.compile(r"^\s*--\s*changeset\s+(?P<author>[^:\s]+):(?P<id>\S+).*$", re.IGNORECASE)
_ROLLBACK = re.compile(r"^\s*--\s*rollback\b[ \t]*(?P<sql>.*)$", re.IGNORECASE | re.MULTILINE)
_ROLLBACK_BLOCK = re.compile(r"/\*\s*liquibase\s+rollback\s*\n(?P<sql>.*?)\*/", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Script:
    """What is run between two versions.

    Args:
        sql: the statements, newest migration first on the way back.
        command: what lets the tool itself run them.
        warning: why the statements may not be all; empty when they are.
    """

    sql: str
    command: str
    warning: str = ""


def golang_migrate(folder: Path, before: str, after: str, *, back: bool) -> Script:
    """``NNN_name.up.sql`` and ``NNN_name.down.sql``; with the row that records the version, as golang-migrate keeps it.

    Raises:
        SourceAnswerError: a version is not there, or a migration cannot be undone.
    """
    found = _versions(folder, _GO, {"down": True, "up": False})
    chosen = _between(found, _number(before), _number(after), back=back, where=folder)
    record = _GO_RECORD.format(int(after), int(before))
    place = shlex.quote(str(folder))
    return Script("\n".join((*chosen, record)), f'migrate -path {place} -database "$DATABASE_URL" goto {int(after)}')


def flyway(folder: Path, before: str, after: str, *, back: bool) -> Script:
    """``V1.2__name.sql``, and the undo scripts ``U1.2__name.sql`` that Flyway's paid editions run.

    Raises:
        SourceAnswerError: a version is not there, or has no undo script.
    """
    found = _versions(folder, _FLYWAY, {"U": True, "V": False})
    low, high = sorted((_number(before), _number(after)))
    sql = "\n".join(_between(found, _number(before), _number(after), back=back, where=folder))
    lowest = ".".join(str(part) for part in min(key for key in found if low < key <= high))
    command = f"flyway undo -target={lowest}" if back else f"flyway migrate -target={shlex.quote(after)}"
    return Script(sql, command, "Flyway fills in ${...} when it runs them" if "${" in sql else "")


def liquibase(changelog: Path, before: str, after: str, *, back: bool) -> Script:
    """Changesets of one formatted SQL file and their ``--rollback`` comments; without one Liquibase undoes nothing.

    Raises:
        SourceAnswerError: it is no such file, a changeset is not in it, or cannot be undone.
    """
    text = _text(changelog)
    first = next((line.strip().casefold() for line in text.splitlines() if line.strip()), "")
    if not first.startswith("--") or "liquibase formatted sql" not in first:
        command = "liquibase rollback-count-sql 1" if back else "liquibase update-sql"
        _fail(f"{changelog.name} is no formatted SQL changelog: Liquibase makes its SQL itself; see it by: {command}")
    known = _changesets(text)
    places = [_place(known, name, changelog) for name in (before, after)]
    low, high = sorted(places)
    chosen = list(known.items())[low + 1 : high + 1]
    if back:
        sql = "\n".join(_undo(*one) for one in reversed(chosen))
        return Script(sql, f"liquibase rollback-count {len(chosen)}")
    return Script("\n".join(_do(body) for _, body in chosen), f"liquibase update-count {len(chosen)}")


#: Tool to what reads its files.
READERS: Mapping[str, Callable[..., Script]] = {
    "golang-migrate": golang_migrate,
    "flyway": flyway,
    "liquibase": liquibase,
}
#: Tools that record a version by nothing but that version, so that their statements and their record can be one
#: transaction of ours.
ONE_ROW = frozenset({"alembic", "golang-migrate"})


def django(manage: Path, before: str, after: str) -> NoReturn:
    """Migrations in Python, whose SQL Django only writes with the database before it: the commands for a person.

    Raises:
        SourceAnswerError: always.
    """
    (app, newest), (other, target) = (name.partition(".")[::2] for name in (before, after))
    if not newest or app != other:
        _fail(f"{before} and {after} are not migrations of one Django app; undo them one app after the other")
    python = f"python {shlex.quote(str(manage))}"
    show, run = (shlex.join(words) for words in (["sqlmigrate", app, newest, "--backwards"], ["migrate", app, target]))
    _fail(f"Django writes this SQL with the database before it: see it by {python} {show}, run it by {python} {run}")


def _versions(
    folder: Path, pattern: re.Pattern[str], ways: Mapping[str, bool]
) -> dict[tuple[int, ...], dict[bool, Path]]:
    """Version to its files, the one that undoes it under True."""
    if not folder.is_dir():
        raise SourceUnreachableError(f"{folder} is no folder", source=_SOURCE)
    found: dict[tuple[int, ...], dict[bool, Path]] = {}
    for path in sorted(folder.rglob("*.sql")):
        if match := pattern.fullmatch(path.name):
            files, back = found.setdefault(_number(match["version"]), {}), ways[match["way"]]
            if back in files:
                _fail(f"{files[back].name} and {path.name} are the same version")
            files[back] = path
    return found


def _number(version: str) -> tuple[int, ...]:
    """A version by its parts, without zeros at the end: 1.0 is 1."""
    if not re.fullmatch(r"\d+(?:[._]\d+)*", version):
        _fail(f"{version!r} is no version")
    parts = [int(part) for part in re.split("[._]", version)]
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return tuple(parts)


def _between(
    found: Mapping[tuple[int, ...], Mapping[bool, Path]],
    before: tuple[int, ...],
    after: tuple[int, ...],
    *,
    back: bool,
    where: Path,
) -> list[str]:
    for version in (before, after):
        if version not in found:
            _fail(f"no file of version {_name(version)} is in {where}")
    low, high = (after, before) if back else (before, after)
    chosen = sorted((one for one in found if low < one <= high), reverse=back)
    if not chosen:
        _fail(f"{_name(after)} is not {'older' if back else 'newer'} than {_name(before)}")
    told = []
    for version in chosen:
        if back not in found[version]:
            _fail(f"{next(iter(found[version].values())).name} has no file that {'undoes' if back else 'does'} it")
        told.append(f"-- {found[version][back].name}\n{_text(found[version][back]).strip()}")
    return told


def _name(version: Sequence[int]) -> str:
    return ".".join(str(part) for part in version)


def _changesets(text: str) -> dict[tuple[str, str], str]:
    """``(id, author)`` to what follows, in the order of the file."""
    known: dict[tuple[str, str], list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if match := _CHANGESET.match(line):
            current = known.setdefault((match["id"], match["author"]), [])
        else:
            current.append(line)
    return {key: "\n".join(lines) for key, lines in known.items()}


def _place(known: Mapping[tuple[str, str], str], recorded: str, changelog: Path) -> int:
    """Where a changeset stands; it is recorded as ``FILE::ID::AUTHOR``."""
    parts = recorded.split("::")
    key = (parts[1], parts[2]) if len(parts) == 3 else ("", "")
    if key not in known or Path(parts[0]).name != changelog.name:
        _fail(f"{recorded!r} is no changeset of {changelog.name}")
    return list(known).index(key)


def _undo(name: tuple[str, str], body: str) -> str:
    lines = [match["sql"].strip() for match in _ROLLBACK.finditer(body)]
    blocks = [match["sql"].strip() for match in _ROLLBACK_BLOCK.finditer(body)]
    if not lines and not blocks:
        _fail(f"changeset {name[1]}:{name[0]} has no --rollback, so Liquibase cannot undo it")
    if any(line.casefold().startswith("changesetid:") for line in lines):
        _fail(f"changeset {name[1]}:{name[0]} is undone by another changeset; see it by: liquibase rollback-count-sql")
    told = [line for line in lines if line.casefold() not in {"empty", "not required", "multiline"}]
    return "\n".join((f"-- changeset {name[1]}:{name[0]}", *told, *blocks))


def _do(body: str) -> str:
    kept = _ROLLBACK_BLOCK.sub("", body).splitlines()
    return "\n".join(line for line in kept if not line.lstrip().startswith("--")).strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceUnreachableError(f"{path} cannot be read: {type(error).__name__}", source=_SOURCE) from error


def _fail(reason: str) -> NoReturn:
    raise SourceAnswerError(reason, source=_SOURCE)
