"""Commands on this machine that a person following a runbook needs, and their versions."""

from __future__ import annotations

import re
import shutil
import subprocess

from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.errors import SourceAnswerError, SourceEmptyError, SourceTimeoutError
from runbook_lib.model import Evidence, Gap

#: How each command says its version without asking a server.
_ARGUMENTS = {"kubectl": ("version", "--client"), "helm": ("version", "--short")}
_VERSION = re.compile(r"(\d+(?:\.\d+)+)")
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,40}")
_SECONDS = 5.0


class ToolsClient(SourceClient):
    """Local commands; needs no settings."""

    source = "tools"

    def version(self, name: str) -> Evidence | Gap:
        """Document ``{name, path, version}``; a Gap of kind ``empty`` when the command is not installed."""
        return self._ask("version", self._fetch_version, parameters={"name": name})

    def _fetch_version(self, question: Question) -> Answer:
        name = str(question.parameters["name"])
        if not _NAME.fullmatch(name):
            raise SourceAnswerError(f"{name!r} is no name of a command", source=self.source)
        path = shutil.which(name)
        if path is None:
            raise SourceEmptyError("not installed", source=self.source)
        argv = [path, *_ARGUMENTS.get(name, ("--version",))]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise SourceTimeoutError(
                f"{name} did not say its version within {_SECONDS:g} s", source=self.source
            ) from error
        except OSError as error:
            raise SourceAnswerError(f"{name} cannot be started: {error.strerror}", source=self.source) from error
        found = _VERSION.search(done.stdout + done.stderr)
        if found is None:
            raise SourceAnswerError(f"{name} said no version", source=self.source)
        return Answer({"name": name, "path": path, "version": found.group(1)})
