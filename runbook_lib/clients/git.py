"""A git repository as a place for something that must not be changed: commits on a branch of its own, no work tree."""

from __future__ import annotations

import os
from pathlib import Path

from runbook_lib.clients._process import Finished, run
from runbook_lib.errors import ActionRejectedError, SourceUnreachableError

_SECONDS, _PUSH_SECONDS = 15.0, 30.0
_NONE = "0" * 40
_REMOTE = "origin"
# Who commits where nobody is configured, and no question to a person who is not there.
_ENVIRONMENT = {
    "GIT_AUTHOR_NAME": "runbook",
    "GIT_AUTHOR_EMAIL": "runbook@localhost",
    "GIT_COMMITTER_NAME": "runbook",
    "GIT_COMMITTER_EMAIL": "runbook@localhost",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
}
# Another process committed in between.
_TRIES = 10


class Branch:
    """One branch of a local repository, written without touching what is checked out.

    Args:
        repository: a checkout or a bare repository.
        name: of the branch.
    """

    def __init__(self, repository: Path, name: str) -> None:
        self.repository, self.reference = repository, f"refs/heads/{name}"
        self._far = f"refs/remotes/{_REMOTE}/{name}"

    def read(self, file: str) -> bytes:
        """A file of the newest commit that is known here; nothing when the branch or the file is not there.

        Raises:
            SourceUnreachableError: there is no repository.
        """
        head = self._head()
        if not head:
            return b""
        found = self._git("show", f"{head}:{file}", needed=False)
        return found.output.encode() if not found.code else b""

    def write(self, file: str, content: str, message: str) -> str:
        """Commit a branch that holds this file alone, and push it where there is a remote.

        Args:
            file: its name.
            content: all of it.
            message: of the commit.

        Returns:
            The commit.

        Raises:
            SourceUnreachableError: it cannot be committed or pushed; a commit that was not pushed goes with the next.
        """
        blob = self._git("hash-object", "-w", "--stdin", text=content).output.strip()
        tree = self._git("mktree", text=f"100644 blob {blob}\t{file}\n").output.strip()
        for _ in range(_TRIES):
            local, head = self._commit(self.reference), self._head()
            parent = ["-p", head] if head else []
            commit = self._git("commit-tree", tree, *parent, text=message).output.strip()
            if not self._git("update-ref", self.reference, commit, local or _NONE, needed=False).code:
                self._push()
                return commit
        raise self._failed("others commit to the branch all the time")

    def fetch(self) -> None:
        """Learn what others committed, where there is a remote; one that has no such branch yet is fine.

        Raises:
            SourceUnreachableError: there is no repository.
        """
        if self._has_remote():
            spec = f"+{self.reference}:{self._far}"
            self._git("fetch", "--quiet", "--no-tags", _REMOTE, spec, needed=False, seconds=_PUSH_SECONDS)

    def _has_remote(self) -> bool:
        return _REMOTE in self._git("remote").output.split()

    def _push(self) -> None:
        if self._has_remote():
            # Without force: a branch that somebody rewrote is an alarm, not an obstacle.
            self._git("push", "--quiet", _REMOTE, f"{self.reference}:{self.reference}", seconds=_PUSH_SECONDS)

    def _head(self) -> str:
        """The newest commit: the remote's when ours is behind it, as in a fresh clone."""
        self._git("rev-parse", "--git-dir")
        local, far = self._commit(self.reference), self._commit(self._far)
        behind = far and (not local or not self._git("merge-base", "--is-ancestor", local, far, needed=False).code)
        return far if behind else local

    def _commit(self, reference: str) -> str:
        return self._git("rev-parse", "--verify", "--quiet", reference, needed=False).output.strip()

    def _git(self, *words: str, text: str = "", needed: bool = True, seconds: float = _SECONDS) -> Finished:
        argv = ["git", "-C", str(self.repository), *words]
        try:
            done = run(argv, deadline_seconds=seconds, text=text, environment={**os.environ, **_ENVIRONMENT})
        except ActionRejectedError as error:
            raise self._failed(str(error)) from error
        if needed and (done.code or done.timed_out):
            words_of_git = done.errors.strip().splitlines()
            raise self._failed(f"git {words[0]}: {words_of_git[-1] if words_of_git else f'exit code {done.code}'}")
        return done

    def _failed(self, why: str) -> SourceUnreachableError:
        return SourceUnreachableError(f"{self.repository}: {why}", source="git")
