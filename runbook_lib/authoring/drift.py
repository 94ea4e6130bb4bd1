"""Whether what a runbook names still exists: reads, place, permissions, the release as Helm left it, page and links."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.authoring import language
from runbook_lib.authoring.held_fields import KINDS, held_fields
from runbook_lib.authoring.importing import IMPORTED, digest
from runbook_lib.authoring.lint import Notebook, tree
from runbook_lib.errors import SourceError
from runbook_lib.headless.parameters import Parameters
from runbook_lib.model import Check, Checks, CheckStatus, Environment, Evidence, Gap, Service, Window, rights
from runbook_lib.run.systems import Systems

if TYPE_CHECKING:
    from runbook_lib.clients._tape import Tape

#: How many questions are asked at once.
_READERS = 8
_LINK_SECONDS = 5.0


def drift(path: Path, service: Service, environment: Environment, *, page: Path | None = None) -> Checks:
    """Ask an environment for everything that a notebook names; nothing is changed and no record is made.

    Args:
        path: the notebook.
        service: the service that it is about.
        environment: where it is asked.
        page: the markdown file that it was imported from; None to look for it beside the notebook.

    Raises:
        NotebookError: the file is no notebook.
    """
    from runbook_lib.clients._tape import LiveTape

    tape: Tape = LiveTape()
    systems = Systems(service, environment, Window.last(15), tape)
    book = Notebook(path)
    return Checks(
        (
            *_reads(book, systems, environment),
            *_permissions(book, systems),
            *_release(book, systems, service),
            *_place(book, service),
            *_page(book, page),
            *_links(service),
        )
    )


def reads(book: Notebook) -> tuple[tuple[str, str], ...]:
    """The client and method of every read that a notebook makes, or the client and name of a named query."""
    found: dict[tuple[str, str], None] = {}
    aliases = book.aliases()
    for cell in book.code():
        for attribute, method, name in language.queries(tree(cell), aliases):
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                found[attribute, f"query:{name.value}"] = None
            elif method != "query":
                found[attribute, method] = None
    return tuple(found)


def _reads(book: Notebook, systems: Systems, environment: Environment) -> Iterator[Check]:
    wanted = [one for one in reads(book) if one[1] not in language.WRITES]
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        answers = list(pool.map(lambda one: _ask(systems, *one), wanted))
    for (attribute, method), answer in zip(wanted, answers, strict=True):
        name = f"{attribute}.{method}"
        reach, rename = f"mend environments.{environment.name}", "rename it in the notebook, or where it is measured"
        if answer is None:
            yield Check("query", name, CheckStatus.SKIPPED, "needs a value that is only known in a run", needed=False)
        elif isinstance(answer, Gap):
            gone = answer.kind == "empty"
            status, fix = (CheckStatus.FAILED, rename) if gone else (CheckStatus.UNKNOWN, reach)
            yield Check("query", name, status, answer.reason, "answers with data", fix)
        elif answer.series and answer.latest.value is None:
            yield Check("query", name, CheckStatus.UNKNOWN, "no samples now", "answers with data", rename)
        else:
            yield Check("query", name, CheckStatus.PASSED, str(answer), "answers with data")


def _ask(systems: Systems, attribute: str, method: str) -> Evidence | Gap | None:
    client = systems.client(attribute)
    try:
        if method.startswith("query:"):
            answer = client.query(method.removeprefix("query:"))
        else:
            answer = getattr(client, method)()
    except TypeError:
        return None
    return answer if isinstance(answer, Evidence | Gap) else None


def _permissions(book: Notebook, systems: Systems) -> Iterator[Check]:
    for right in dict.fromkeys(
        right for kind in book.meta.get("actions", ()) for right in rights.CHANGING.get(kind, ())
    ):
        answer, name = systems.client("kubernetes").may(right), str(right)
        if isinstance(answer, Gap):
            yield Check("permission", name, CheckStatus.UNKNOWN, answer.reason, "allowed")
        else:
            allowed = bool(answer.document.get("allowed"))
            told = "allowed" if allowed else str(answer.document.get("reason") or "denied")
            fix = "" if allowed else f"grant {name} in the namespace"
            yield Check("permission", name, _status(allowed), told, "allowed", fix)


def _release(book: Notebook, systems: Systems, service: Service) -> Iterator[Check]:
    if service.workload.get("release") and not set(KINDS).isdisjoint(book.meta.get("actions", ())):
        yield from held_fields(systems)


def _place(book: Notebook, service: Service) -> Iterator[Check]:
    """Parameters that name a place, against the catalogue."""
    for item in Parameters.of(book.cells, str(book.path)).items:
        if item.name in {"namespace", "deployment", "release"} and item.default:
            known = service.workload.get(item.name)
            fix = "" if known == item.default else f"correct the parameter, or workload.{item.name} in runbook.toml"
            yield Check(
                "place",
                item.name,
                _status(known == item.default),
                f"the catalogue says {known}",
                str(item.default),
                fix,
            )


def _page(book: Notebook, page: Path | None) -> Iterator[Check]:
    imported: Mapping[str, Any] = book.meta.get(IMPORTED) or {}
    if not imported:
        return
    found = page or book.path.parent / Path(str(imported["page"])).name
    if not found.is_file():
        yield Check("page", str(imported["page"]), CheckStatus.SKIPPED, "not found here; see: --page", needed=False)
        return
    same = digest(found.read_text(encoding="utf-8")) == imported["digest"]
    told = "as it was imported" if same else "changed since it was imported"
    fix = "" if same else f"runbook import {found} -o {book.path}"
    yield Check("page", found.name, _status(same), told, "as it was imported", fix)


def _links(service: Service) -> Iterator[Check]:
    """Whether the pages behind the catalogue's links are there; a login page is there."""
    from urllib.parse import urlsplit

    from runbook_lib.clients._http import Http

    for name, link in service.links.items():
        parts = urlsplit(link.replace("{from}", "0").replace("{to}", "0"))
        base = f"{parts.scheme}://{parts.netloc}"
        http = Http("link", base, connect_seconds=_LINK_SECONDS, total_seconds=_LINK_SECONDS, retry=False)
        try:
            status = http.get(parts.path or "/", any_status=True).status
        except SourceError as error:
            yield Check("link", name, CheckStatus.UNKNOWN, error.reason, "answers", "check the address", needed=False)
            continue
        finally:
            http.close()
        gone = status in {404, 410}
        fix = "correct it in runbook.toml" if gone else ""
        yield Check("link", name, _status(not gone), f"status {status}", "answers", fix, needed=False)


def _status(passed: bool) -> CheckStatus:
    return CheckStatus.PASSED if passed else CheckStatus.FAILED
