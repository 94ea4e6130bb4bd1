"""``runbook service add``: a service for the catalogue, from what its deployment and its metrics say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runbook_lib.cli.output import line

if TYPE_CHECKING:
    from runbook_lib.model import Environment, Evidence, Gap

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Services of the catalogue: add.")

#: Names under which the time to answer is commonly kept, ours first.
HISTOGRAMS = (
    "http_request_duration_seconds",
    "http_server_request_duration_seconds",
    "http_server_duration_seconds",
    "http_server_requests_seconds",
    "request_duration_seconds",
)
#: Labels by which a service's metrics are commonly selected, most telling first.
LABELS = ("service", "app", "app_kubernetes_io_name", "job", "deployment", "container")
_ROUND_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
_TEAM = ("owner", "team", "app.kubernetes.io/part-of")
_RELEASE = "meta.helm.sh/release-name"


@app.callback()
def _group() -> None:
    """Services of the catalogue."""


@app.command("add")
def add(
    deployment: Annotated[str, typer.Option("--from-deployment", help="NAMESPACE/NAME of a deployment to read.")],
    name: Annotated[str, typer.Argument(help="Default: the deployment's name.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="Where it is; default: the first one.")] = "",
    show: Annotated[bool, typer.Option("--print", help="Print the lines only; write nothing.")] = False,
) -> None:
    """Add a service to runbook.toml from its deployment; what is only a guess says so beside it."""
    from runbook_lib import catalog
    from runbook_lib.errors import UsageError
    from runbook_lib.headless.session import find_catalog

    path = find_catalog(None)
    if path is None:
        raise UsageError(f"no {catalog.FILE_NAME} in this folder or above; make one with: runbook init .")
    namespace, separator, called = deployment.partition("/")
    if not separator or not namespace or not called:
        raise UsageError(f"--from-deployment {deployment!r}: write NAMESPACE/NAME")
    known = catalog.load(path)
    service = name or called
    if service in known.services:
        raise UsageError(f"{path} has a service {service!r}; choose another name, or edit it there")
    where = known.environment(environment or next(iter(known.environments)))
    lines = "\n".join(described(service, namespace, called, where)) + "\n"
    if show:
        line(lines)
        return
    _append(path, lines)
    line(lines)
    line(f"added to {path}; next: runbook doctor --service {service} --environment {where.name}")


def described(service: str, namespace: str, deployment: str, environment: Environment) -> Iterator[str]:
    """The lines of a service in TOML.

    Args:
        service: its name in the catalogue.
        namespace: of its deployment.
        deployment: name of its deployment.
        environment: where the deployment and its metrics are read.

    Raises:
        UsageError: the deployment cannot be read.
    """
    from runbook_lib.errors import UsageError
    from runbook_lib.model import Gap

    found = _client("kubernetes", "KubernetesClient", environment, namespace, deployment).deployment()
    if isinstance(found, Gap):
        raise UsageError(f"{namespace}/{deployment} in {environment.name}: {found.reason}")
    document = found.document
    metadata, spec = document["metadata"], document["spec"]["template"]["spec"]
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    container = spec["containers"][0]
    owner = next((marks[key] for key in _TEAM if marks.get(key)), "")
    yield f"\n[services.{service}]"
    yield f'description = "deployment {deployment} in {namespace}"  # a guess: say what it does'
    yield f"owner = {json.dumps(owner or 'unknown')}  # {'from its labels' if owner else 'a guess: who is called?'}"
    selector, histogram, p95, told = measured(environment, namespace, deployment, marks)
    yield f"\n[services.{service}.objectives.latency]"
    yield 'kind = "latency"'
    yield "target = 0.95  # a guess"
    limit = next((one for one in _ROUND_SECONDS if one > 1.5 * (p95 or 0.12)), _ROUND_SECONDS[-1])
    yield f"threshold_seconds = {limit}  # a guess: {told}"
    yield f"\n[services.{service}.objectives.availability]"
    yield 'kind = "availability"'
    yield "target = 0.999  # a guess"
    yield f"\n[services.{service}.workload]"
    yield f"namespace = {json.dumps(namespace)}"
    yield f"deployment = {json.dumps(deployment)}"
    yield f"container = {json.dumps(container['name'])}"
    if marks.get(_RELEASE):
        yield f"release = {json.dumps(marks[_RELEASE])}"
    path = ((container.get("readinessProbe") or {}).get("httpGet") or {}).get("path")
    if path:
        yield f"health_path = {json.dumps(path)}  # from its readiness probe"
    found_by = "has samples" if p95 is not None else "a guess: no metrics were found by it"
    yield f"selector = {{ {', '.join(f'{k} = {json.dumps(v)}' for k, v in selector.items())} }}  # {found_by}"
    if histogram != HISTOGRAMS[0]:
        yield f"metrics = {{ latency_histogram = {json.dumps(histogram)} }}"


def measured(
    environment: Environment, namespace: str, deployment: str, marks: Mapping[str, str]
) -> tuple[dict[str, str], str, float | None, str]:
    """How the service's metrics are selected, the histogram's name, its p95 in seconds, and how that is known."""
    from runbook_lib.model import Gap

    names = dict.fromkeys((marks.get("app.kubernetes.io/name", ""), marks.get("app", ""), deployment))
    reason = "no metrics were found"
    if "prometheus" not in environment.endpoints:
        return {"namespace": namespace, "service": deployment}, HISTOGRAMS[0], None, "no prometheus is configured"
    for histogram in HISTOGRAMS:
        for selector in _selectors(namespace, [one for one in names if one]):
            answer = _latency(environment, namespace, deployment, selector, histogram)
            if isinstance(answer, Gap):
                # A store that does not answer one question will not answer the other fifty.
                if answer.kind in {"unreachable", "timeout", "denied"}:
                    return selector, histogram, None, f"prometheus: {answer.reason}"
                continue
            values = sorted(v for one in answer.series for _, v in one.points())
            if values:
                p95 = values[len(values) // 2]
                return selector, histogram, p95, f"p95 was {p95 * 1000:.0f} ms, the median of the last hour"
    return {"namespace": namespace, "service": deployment}, HISTOGRAMS[0], None, reason


def _selectors(namespace: str, names: list[str]) -> Iterator[dict[str, str]]:
    short = [re.sub(r"-(deployment|deploy|svc|service)$", "", one) for one in names]
    for label in LABELS:
        for value in dict.fromkeys((*names, *short)):
            yield {"namespace": namespace, label: value}


def _latency(
    environment: Environment, namespace: str, deployment: str, selector: Mapping[str, str], histogram: str
) -> Evidence | Gap:
    more = {"selector": selector, "metrics": {"latency_histogram": histogram}}
    client = _client("prometheus", "PrometheusClient", environment, namespace, deployment, **more)
    answer: Evidence | Gap = client.latency_seconds()
    return answer


def _client(module: str, name: str, environment: Environment, namespace: str, deployment: str, **more: Any) -> Any:
    import importlib

    from runbook_lib.clients._tape import LiveTape
    from runbook_lib.model import Window

    made = getattr(importlib.import_module(f"runbook_lib.clients.{module}"), name)
    return made(
        endpoint=environment.endpoints.get(module),
        tape=LiveTape(),
        window=Window.last(60),
        workload={"namespace": namespace, "deployment": deployment, **more},
        environment=environment.name,
    )


def _append(path: Path, lines: str) -> None:
    """Add lines to the catalogue when the whole still is one; otherwise it stays as it was.

    Raises:
        CatalogError: with the lines the catalogue is none any more.
    """
    from runbook_lib import catalog
    from runbook_lib.headless.document import replace

    text = path.read_text(encoding="utf-8").rstrip("\n") + "\n" + lines
    trial = path.with_name(f".{path.name}.trial")
    trial.write_text(text, encoding="utf-8")
    try:
        catalog.load(trial)
    finally:
        trial.unlink()
    replace(path, text.encode())
