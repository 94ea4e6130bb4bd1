"""What the service's migration tool would run between two versions: SQL, written without a database."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from runbook_lib.clients import _migration_files as files
from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.errors import ActionRejectedError, SourceAnswerError, SourceTimeoutError, SourceUnreachableError
from runbook_lib.model import Evidence, Gap

_SECONDS = 60.0
#: Names of versions as the tools make them; nothing that could be an option or a range.
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,63}")
#: What the tool gets of our environment: nothing that could hold a secret, and so no database.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")


class MigrationsClient(SourceClient):
    """Settings of the endpoint: ``tool`` (alembic, golang-migrate, flyway, liquibase or django), ``config`` (Alembic's
    alembic.ini, the folder of the migrations' files, the formatted SQL changelog, or manage.py), ``program`` (default:
    the Alembic of this Python)."""

    source = "migrations"

    def script(self, *, before: str, after: str, back: bool = False) -> Evidence | Gap:
        """Document ``{tool, from, to, sql, command, one_row}``; see the query.

        Args:
            before: the version that the schema has.
            after: the version that is asked for.
            back: whether migrations are undone.
        """
        return self._ask("script", self._fetch_script, parameters={"before": before, "after": after, "back": back})

    def _fetch_script(self, question: Question) -> Answer:
        before, after = (str(question.parameters[name]) for name in ("before", "after"))
        tool, back = self._setting("tool", "alembic"), bool(question.parameters["back"])
        if tool == "django":
            files.django(Path(self._setting("config")), before, after)
        if tool in files.READERS:
            found = files.READERS[tool](Path(self._setting("config")), before, after, back=back)
        elif tool == "alembic":
            found = files.Script(self._alembic(before, after, back=back), f"alembic {_way(back)} {after}")
        else:
            known = ("alembic", "django", *files.READERS)
            raise SourceAnswerError(f"the SQL of {tool} is not read here; {', '.join(known)} are", source=self.source)
        told = {"tool": tool, "from": before, "to": after, "sql": found.sql, "command": found.command}
        warnings = (found.warning,) if found.warning else ()
        return Answer({**told, "one_row": tool in files.ONE_ROW}, warnings=warnings)

    def _alembic(self, before: str, after: str, *, back: bool) -> str:
        from runbook_lib.clients import _process

        for name in (before, after):
            if not _VERSION.fullmatch(name):
                raise SourceAnswerError(f"{name!r} is no version", source=self.source)
        program = [self._setting("program")] if self._setting("program") else [sys.executable, "-m", "alembic"]
        kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        argv = [*program, "-c", self._setting("config"), _way(back), f"{before}:{after}", "--sql"]
        try:
            done = _process.run(argv, deadline_seconds=_SECONDS, environment=kept)
        except ActionRejectedError as error:
            raise SourceUnreachableError(str(error), source=self.source) from error
        if done.timed_out:
            raise SourceTimeoutError(f"alembic wrote no SQL within {_SECONDS:g} s", source=self.source)
        if done.code:
            # Alembic's own words go to stdout, an error of the service's environment to stderr.
            told = next((line for line in done.output.splitlines() if line.startswith("FAILED")), "")
            told = told or next(iter(reversed(done.errors.strip().splitlines())), f"exit code {done.code}")
            raise SourceAnswerError(f"alembic writes no SQL: {told.strip()}", source=self.source)
        return done.output.strip()


def _way(back: bool) -> str:
    return "downgrade" if back else "upgrade"
