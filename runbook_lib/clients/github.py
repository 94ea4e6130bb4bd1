"""GitHub: what CI says of a commit, and which commit a tag names (REST API)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from runbook_lib.clients._http import Http, Reply, bearer
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.clients._vendor import VendorClient
from runbook_lib.errors import SourceAnswerError, SourceEmptyError, SourceError
from runbook_lib.model import Evidence, Gap, Table
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.times import parse_rfc3339

_URL = "https://api.github.com"
RUN_COLUMNS = (
    "id", "workflow", "status", "conclusion", "event", "branch", "commit", "started_at", "updated_at", "url",
)  # fmt: skip
_RUNS = 100
_FILES = 300


class GitHubClient(VendorClient):
    """Questions to GitHub. Settings of the endpoint: ``repository`` (owner/name), ``token``, ``url``."""

    source = "github"

    def runs(self, commit: str = "") -> Evidence | Gap:
        """Table of the workflow runs of a commit, newest first; none is a gap: nothing says that CI has passed.

        Args:
            commit: full SHA; empty for the newest runs of all.
        """
        return self._ask("runs", self._fetch_runs, parameters={"commit": commit})

    def commit(self, reference: str = "HEAD") -> Evidence | Gap:
        """Document ``{sha, message, author, at, url}`` of a branch, tag or SHA."""
        return self._ask("commit", self._fetch_commit, parameters={"reference": reference})

    def tag(self, tag: str) -> Evidence | Gap:
        """Document ``{name, found, sha}``: the commit that a tag names, also through an annotated tag."""
        return self._ask("tag", self._fetch_tag, parameters={"tag": tag})

    def compare(self, base: str, head: str = "HEAD") -> Evidence | Gap:
        """Document ``{status, ahead_by, behind_by, commits, files}`` from ``base`` to ``head``."""
        return self._ask("compare", self._fetch_compare, parameters={"base": base, "head": head})

    def reviewers(self, run: int) -> Evidence | Gap:
        """Table ``environment, state, user``: who let a workflow run into its protected environments, oldest first.

        Args:
            run: id of the workflow run.
        """
        return self._ask("reviewers", self._fetch_reviewers, parameters={"run": run})

    def _open(self) -> Http:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        return self._http_to(self._setting("url", _URL), {**bearer(self._secret("token")), **headers})

    def _path(self, *parts: str) -> str:
        repository = self._setting("repository")
        if repository.count("/") != 1:
            raise SourceAnswerError("github.repository must be owner/name in the catalogue", source=self.source)
        return "/".join(("/repos", repository, *parts))

    def _fetch_runs(self, question: Question) -> Answer:
        commit = str(question.parameters["commit"] or "")
        params: dict[str, str | int | float] = {"per_page": _RUNS, **({"head_sha": commit} if commit else {})}
        found = self._http.get(self._path("actions", "runs"), params, explain=_explain).json()
        rows = [_run(one) for one in found["workflow_runs"]]
        if not rows:
            raise SourceEmptyError(f"there is no run{f' of commit {commit}' if commit else ''}", source=self.source)
        rows.sort(key=lambda row: -float(row[7] or 0))
        kept = found.get("total_count", 0) - len(rows)
        return Answer(Table(RUN_COLUMNS, tuple(rows)), (f"{kept} older runs were not read",) if kept > 0 else ())

    def _fetch_commit(self, question: Question) -> Answer:
        reference = str(question.parameters["reference"])
        found = self._http.get(self._path("commits", quote(reference, safe="/")), explain=_explain).json()
        return Answer(self._commit(found))

    def _commit(self, found: Any) -> dict[str, Any]:
        written = found["commit"]
        return {
            "sha": found["sha"],
            "message": self._redactor.text(written["message"].partition("\n")[0])[:200],
            "author": (written.get("author") or {}).get("name", ""),
            "at": parse_rfc3339(written["committer"]["date"]).timestamp(),
            "url": found.get("html_url", ""),
        }

    def _fetch_tag(self, question: Question) -> Answer:
        name = str(question.parameters["tag"])
        try:
            found = self._http.get(self._path("git", "ref", "tags", quote(name, safe="/")), explain=_explain).json()
        except SourceEmptyError:
            return Answer({"name": name, "found": False, "sha": ""})
        named = found["object"]
        if named["type"] == "tag":
            named = self._http.get(self._path("git", "tags", named["sha"]), explain=_explain).json()["object"]
        return Answer({"name": name, "found": True, "sha": named["sha"]})

    def _fetch_reviewers(self, question: Question) -> Answer:
        place = self._path("actions", "runs", str(question.parameters["run"]), "approvals")
        rows = [
            (str(named["name"]), str(one["state"]), str(one["user"]["login"]))
            for one in self._http.get(place, explain=_explain).json()
            for named in one["environments"]
        ]
        return Answer(Table(("environment", "state", "user"), tuple(rows)))

    def _fetch_compare(self, question: Question) -> Answer:
        ends = "...".join(quote(str(question.parameters[name]), safe="/") for name in ("base", "head"))
        found = self._http.get(self._path("compare", ends), explain=_explain).json()
        return Answer(
            {
                "status": found["status"],
                "ahead_by": found["ahead_by"],
                "behind_by": found["behind_by"],
                "commits": [self._commit(one) for one in found["commits"]],
                "files": [one["filename"] for one in found.get("files") or ()],
            },
            # GitHub lists no more; https://docs.github.com/rest/commits/commits#compare-two-commits.
            (f"only the first {_FILES} files are listed",) if len(found.get("files") or ()) >= _FILES else (),
        )


def _run(one: Any) -> tuple[Scalar, ...]:
    return (
        one["id"],
        str(one.get("name") or ""),
        str(one["status"]),
        str(one.get("conclusion") or ""),
        str(one.get("event", "")),
        str(one.get("head_branch") or ""),
        str(one["head_sha"]),
        parse_rfc3339(one["run_started_at"]).timestamp() if one.get("run_started_at") else None,
        parse_rfc3339(one["updated_at"]).timestamp() if one.get("updated_at") else None,
        str(one.get("html_url", "")),
    )


def _explain(reply: Reply) -> SourceError | None:
    """GitHub hides what a token may not see behind 404, and its rate limit behind 403."""
    if reply.status in {404, 422}:
        return SourceEmptyError("GitHub knows no such thing, or the token may not see it", source=reply.source)
    if reply.status == 403 and reply.headers.get("x-ratelimit-remaining") == "0":
        return SourceAnswerError("the rate limit of the token is used up", source=reply.source)
    return None
