"""GitHub's REST API for one repository, ``acme/api``: workflow runs, jobs, commits, tags, comparison, dispatch.

A public repository: reading needs no token, but a wrong one is refused; dispatching a workflow needs the right one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.lab.vendors import github_history as history
from runbook_lib.lab.vendors.settings import Settings
from runbook_lib.lab.vendors.wire import Inbox, VendorError, bearer, json_object

OWNER, NAME = "acme", "api"
DOCUMENTATION = "https://docs.github.com/rest"
MAX_PER_PAGE = 100


def routes(settings: Settings, inbox: Inbox) -> list[Route]:
    """GitHub's routes, to be mounted at ``/github``."""
    github = _GitHub(settings, inbox)
    base = "/repos/{owner}/{name}"
    reads: dict[str, Callable[[Request], Any]] = {
        "": github.repository,
        "/actions/workflows": github.workflows,
        "/actions/runs": github.runs,
        "/actions/runs/{id:int}": github.run,
        "/actions/runs/{id:int}/jobs": github.jobs,
        "/branches/main": github.branch,
        "/commits": github.commits,
        "/commits/{reference:path}": github.commit,
        "/compare/{spec:path}": github.compare,
        "/git/ref/{reference:path}": github.reference,
        "/tags": github.tags,
    }
    dispatch = Route(f"{base}/actions/workflows/{{workflow}}/dispatches", github.dispatch, methods=["POST"])
    return [dispatch, *(Route(f"{base}{path}", github.reading(handler)) for path, handler in reads.items())]


class _GitHub:
    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self._settings = settings
        self._inbox = inbox
        self._started = datetime.now(UTC)
        self._commits = history.commits()
        self._tags = history.tags()
        self._runs = history.runs()
        self._api = f"{settings.base_url}/github/repos/{OWNER}/{NAME}"
        self._web = f"https://github.com/{OWNER}/{NAME}"

    def _check(self, request: Request) -> None:
        given = bearer(request) or bearer(request, "token")
        if given and not hmac.compare_digest(given, self._settings.secrets["github_token"]):
            raise VendorError(401, _problem("Bad credentials", 401))
        if (request.path_params["owner"], request.path_params["name"]) != (OWNER, NAME):
            raise VendorError(404, _problem("Not Found", 404))

    def reading(self, handler: Callable[[Request], Any]) -> Callable[[Request], Awaitable[Response]]:
        """Wrap a handler with the checks, rate limit headers and ETags that every read of GitHub has."""

        async def endpoint(request: Request) -> Response:
            self._check(request)
            found = handler(request)
            response = found if isinstance(found, Response) else JSONResponse(found)
            etag = f'W/"{hashlib.sha256(bytes(response.body)).hexdigest()}"'
            limit = "5000" if bearer(request) or bearer(request, "token") else "60"
            response.headers.update(
                {"ETag": etag, "X-RateLimit-Limit": limit, "X-RateLimit-Remaining": str(int(limit) - 1)}
            )
            if request.headers.get("if-none-match") == etag:
                return Response(status_code=304, headers={"ETag": etag})
            return response

        return endpoint

    def _page(self, request: Request, items: list[Any], key: str = "") -> Response:
        """One page of a list with GitHub's Link header; ``key`` is the wrapping object's list name."""
        page, size = _whole(request, "page", 1), min(_whole(request, "per_page", 30), MAX_PER_PAGE)
        last = max(1, -(-len(items) // size))
        links = [
            f'<{request.url.include_query_params(page=number, per_page=size)}>; rel="{relation}"'
            for relation, number in (("prev", page - 1), ("next", page + 1), ("last", last))
            if 1 <= number <= last and not (relation == "last" and page >= last)
        ]
        shown = items[(page - 1) * size : page * size]
        body = {"total_count": len(items), key: shown} if key else shown
        return JSONResponse(body, headers={"Link": ", ".join(links)} if links else None)

    def repository(self, _request: Request) -> dict[str, Any]:
        owner = {"login": OWNER, "id": 1, "type": "Organization"}
        return {
            "id": 1,
            "name": NAME,
            "full_name": f"{OWNER}/{NAME}",
            "private": False,
            "owner": owner,
            "default_branch": "main",
            "html_url": self._web,
            "url": self._api,
            "permissions": {"admin": False, "maintain": False, "push": True, "triage": True, "pull": True},
        }

    def workflows(self, request: Request) -> Response:
        known = sorted({(run.workflow, run.path) for run in self._runs})
        items = [
            {"id": number, "name": name, "path": path, "state": "active", "html_url": f"{self._web}/blob/main/{path}"}
            for number, (name, path) in enumerate(known, start=1)
        ]
        return self._page(request, items, "workflows")

    def runs(self, request: Request) -> Response:
        wanted = request.query_params
        found = [
            run
            for run in self._runs
            if wanted.get("branch", "") in ("", run.branch)
            and wanted.get("event", "") in ("", run.event)
            and wanted.get("head_sha", "") in ("", run.sha)
            and wanted.get("status", "") in ("", run.status, run.conclusion)
        ]
        return self._page(request, [self._run(run) for run in found], "workflow_runs")

    def _find_run(self, request: Request) -> history.WorkflowRun:
        found = next((run for run in self._runs if run.id == request.path_params["id"]), None)
        if found is None:
            raise VendorError(404, _problem("Not Found", 404))
        return found

    def run(self, request: Request) -> dict[str, Any]:
        return self._run(self._find_run(request))

    def jobs(self, request: Request) -> Response:
        run = self._find_run(request)
        started = history.at(self._started, run.age)
        ended = history.at(self._started, run.age - run.duration) if run.conclusion else None
        step = {"name": "Run tests", "status": run.status, "conclusion": run.conclusion, "number": 1}
        job = {
            "id": run.id * 10,
            "run_id": run.id,
            "name": "test",
            "status": run.status,
            "conclusion": run.conclusion,
            "head_sha": run.sha,
            "started_at": started,
            "completed_at": ended,
            "steps": [step],
            "html_url": f"{self._web}/actions/runs/{run.id}/job/{run.id * 10}",
        }
        return self._page(request, [job], "jobs")

    def _run(self, run: history.WorkflowRun) -> dict[str, Any]:
        created, ended = history.at(self._started, run.age), history.at(self._started, run.age - run.duration)
        commit = self._resolve(run.sha)
        return {
            "id": run.id,
            "name": run.workflow,
            "display_title": commit.message,
            "path": run.path,
            "head_branch": run.branch,
            "head_sha": run.sha,
            "run_number": run.number,
            "run_attempt": 1,
            "event": run.event,
            "status": run.status,
            "conclusion": run.conclusion,
            "workflow_id": 1,
            "created_at": created,
            "run_started_at": created,
            "updated_at": ended,
            "url": f"{self._api}/actions/runs/{run.id}",
            "html_url": f"{self._web}/actions/runs/{run.id}",
            "actor": {"login": commit.author},
            "head_commit": {"id": run.sha, "message": commit.message},
        }

    def branch(self, _request: Request) -> dict[str, Any]:
        return {"name": "main", "commit": {"sha": self._commits[-1].sha}, "protected": True}

    def commits(self, request: Request) -> Response:
        reference = request.query_params.get("sha", "main")
        position = self._commits.index(self._resolve(reference))
        return self._page(request, [self._commit(commit) for commit in self._commits[position::-1]])

    def commit(self, request: Request) -> dict[str, Any]:
        reference, _, part = request.path_params["reference"].partition("/")
        commit = self._resolve(reference, status=422)
        if part in ("status", "check-runs"):
            return self._checks(commit, part)
        if part:
            raise VendorError(404, _problem("Not Found", 404))
        return self._commit(commit)

    def _checks(self, commit: history.Commit, part: str) -> dict[str, Any]:
        done = [run for run in self._runs if run.sha == commit.sha]
        if part == "status":
            return {"state": "pending", "statuses": [], "sha": commit.sha, "total_count": 0}
        checks = [
            {"id": run.id * 10, "name": "test", "head_sha": run.sha, "status": run.status, "conclusion": run.conclusion}
            for run in done
        ]
        return {"total_count": len(checks), "check_runs": checks}

    def _commit(self, commit: history.Commit) -> dict[str, Any]:
        person = {
            "name": commit.author.title(),
            "email": f"{commit.author}@example.com",
            "date": history.at(self._started, commit.age),
        }
        return {
            "sha": commit.sha,
            "commit": {"message": commit.message, "author": person, "committer": person},
            "author": {"login": commit.author},
            "parents": [{"sha": commit.parent}] if commit.parent else [],
            "url": f"{self._api}/commits/{commit.sha}",
            "html_url": f"{self._web}/commit/{commit.sha}",
        }

    def compare(self, request: Request) -> dict[str, Any]:
        base_name, dots, head_name = request.path_params["spec"].partition("...")
        if not dots:
            raise VendorError(404, _problem("Not Found", 404))
        base, head = self._resolve(base_name), self._resolve(head_name)
        low, high = self._commits.index(base), self._commits.index(head)
        status = "identical" if low == high else "ahead" if high > low else "behind"
        between = self._commits[low + 1 : high + 1]
        return {
            "status": status,
            "ahead_by": max(0, high - low),
            "behind_by": max(0, low - high),
            "total_commits": len(between),
            "base_commit": self._commit(base),
            "merge_base_commit": self._commit(self._commits[min(low, high)]),
            "commits": [self._commit(commit) for commit in between],
            "files": [],
            "html_url": f"{self._web}/compare/{base_name}...{head_name}",
        }

    def reference(self, request: Request) -> dict[str, Any]:
        name = request.path_params["reference"]
        heads = {"heads/main": self._commits[-1].sha}
        known = {f"tags/{tag}": sha for tag, sha in self._tags.items()} | heads
        if name not in known:
            raise VendorError(404, _problem("Not Found", 404))
        target = {"sha": known[name], "type": "commit", "url": f"{self._api}/git/commits/{known[name]}"}
        return {"ref": f"refs/{name}", "url": f"{self._api}/git/refs/{name}", "object": target}

    def tags(self, request: Request) -> Response:
        items = [{"name": tag, "commit": {"sha": sha}} for tag, sha in reversed(self._tags.items())]
        return self._page(request, items)

    async def dispatch(self, request: Request) -> Response:
        self._check(request)
        if not (bearer(request) or bearer(request, "token")):
            raise VendorError(401, _problem("Requires authentication", 401))
        workflow = request.path_params["workflow"]
        files = {run.path.rsplit("/", 1)[-1] for run in self._runs} | {"1", "2"}
        if workflow not in files:
            raise VendorError(404, _problem("Not Found", 404))
        body = await json_object(request, VendorError(400, _problem("Problems parsing JSON", 400)))
        if not body.get("ref"):
            raise VendorError(422, _problem('Invalid request.\n\n"ref" wasn\'t supplied.', 422))
        self._inbox.add("github", "workflow_dispatch", {"workflow": workflow, **body})
        return Response(status_code=204)

    def _resolve(self, name: str, status: int = 404) -> history.Commit:
        """The commit of a sha (7 digits or more), a tag or ``main``."""
        sha = self._commits[-1].sha if name in ("main", "HEAD") else self._tags.get(name, name)
        found = next((commit for commit in self._commits if len(sha) >= 7 and commit.sha.startswith(sha)), None)
        if found is None:
            message = "Not Found" if status == 404 else f"No commit found for SHA: {name}"
            raise VendorError(status, _problem(message, status))
        return found


def _problem(message: str, status: int) -> dict[str, str]:
    return {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)}


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isdigit() and int(text) > 0 else default
