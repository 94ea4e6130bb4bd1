"""Commands on this machine that a person following a runbook needs, and their versions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.errors import SourceAnswerError, SourceEmptyError, SourceTimeoutError
from runbook_lib.model import Evidence, Gap

#: How each command says its version without asking a server.
_ARGUMENTS = {"kubectl": ("version", "--client"), "helm": ("version", "--short")}
_VERSION = re.compile(r"(\d+(?:\.\d+)+)")
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,40}")
_SECONDS = 5.0
#: What a started command gets of our environment: nothing that could hold a secret.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_KEPT_CHARACTERS = 4000


class ToolsClient(SourceClient):
    """Local commands; needs no settings."""

    source = "tools"

    def version(self, name: str) -> Evidence | Gap:
        """Document ``{name, path, version}``; a Gap of kind ``empty`` when the command is not installed."""
        return self._ask("version", self._fetch_version, parameters={"name": name})

    def which(self, name: str) -> str:
        """The file behind the name of a command; empty when it is not installed."""
        return shutil.which(name) or ""

    def start(self, argv: Sequence[str], *, kubeconfig: str = "", deadline_seconds: float = 300.0) -> dict[str, Any]:
        """Start a command once and wait for its end; it gets no shell, no secret of ours and nothing to read.

        Args:
            argv: program and arguments.
            kubeconfig: the cluster that kubectl and helm act on; empty gives them none.
            deadline_seconds: how long it may run, seconds.

        Returns:
            ``{exit_code, timed_out, output, errors}``; the end of what it wrote, without secrets.

        Raises:
            ActionRejectedError: it cannot be started.
        """
        from runbook_lib.clients import _process

        kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # Without a cluster of its own, kubectl would fall back to whatever the person used last.
        kept["KUBECONFIG"] = kubeconfig or os.devnull
        done = _process.run(argv, deadline_seconds=deadline_seconds, environment=kept)
        output, errors = (self._redactor.text(text)[-_KEPT_CHARACTERS:] for text in (done.output, done.errors))
        return {"exit_code": done.code, "timed_out": done.timed_out, "output": output, "errors": errors}

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
