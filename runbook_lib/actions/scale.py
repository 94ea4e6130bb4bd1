"""Change how many pods a deployment runs: ``kubectl scale`` with guards, a digest and a way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.model import Environment, Evidence, Gap, GuardResult, NoPlan, Plan

if TYPE_CHECKING:
    from runbook_lib.clients.kubernetes import KubernetesClient

KIND = "scale"


def scale(
    kubernetes: KubernetesClient, *, replicas: int, service: str, environment: str, usual: int = 0
) -> Plan | NoPlan:
    """Plan to run ``replicas`` pods.

    Args:
        kubernetes: the cluster, bound to the service's deployment.
        replicas: how many pods are asked for.
        service: the service it is for.
        environment: where it acts.
        usual: the most pods that were asked for in the run's window; lets a plan restore them. 0 when not known.

    Returns:
        The plan, or why there is none.
    """
    found = kubernetes.deployment()
    if isinstance(found, Gap):
        return NoPlan(f"the deployment could not be read: {found.reason}")
    return _plan(found, replicas=replicas, service=service, environment=environment, usual=usual)


def _plan(found: Evidence, *, replicas: int, service: str, environment: str, usual: int) -> Plan | NoPlan:
    document = found.document
    meta, spec = document["metadata"], document["spec"]
    current = int(spec.get("replicas", 1))
    name, namespace = meta["name"], meta["namespace"]
    if replicas == current:
        return NoPlan(f"deployment {name} is set to {current} replicas already")
    command = f"kubectl scale deployment {name} --replicas={{}} --current-replicas={{}} -n {namespace}"
    return Plan(
        kind=KIND,
        service=service,
        environment=environment,
        target=f"{namespace}/deployment/{name}",
        before={"replicas": current},
        after={"replicas": replicas},
        preconditions={"uid": meta["uid"], "replicas": current, "usual": usual},
        effect=f"{name} runs {replicas} pods instead of {current}; no pod that serves now is stopped"
        if replicas > current
        else f"{name} runs {replicas} pods instead of {current}; {current - replicas} pods are stopped",
        way_back=f"scale back: {command.format(current, replicas)}",
        command=command.format(replicas, current),
        warnings=_warnings(meta, replicas),
    )


def _warnings(meta: Mapping[str, Any], replicas: int) -> tuple[str, ...]:
    # Measured on Helm 3.22 and 4.3: the chart's own replica count and a scaled deployment do not agree.
    release = meta.get("annotations", {}).get("meta.helm.sh/release-name", "")
    if not release:
        return ()
    revert = "sets the chart's own replica count again (Helm 3, silently) or fails on the field's owner (Helm 4)"
    return (f"the next Helm upgrade or rollback of {release} {revert}; deploy with replicaCount={replicas} until then",)


@dataclass(frozen=True, slots=True)
class Scale:
    """The kind ``scale``, bound to a cluster.

    Args:
        kubernetes: the cluster, bound to the service's deployment.
        schema: whether the release of an image may start on the data as it is; asked when no pod runs.
    """

    kubernetes: KubernetesClient
    schema: Callable[[str], GuardResult] | None = None

    def observe(self, plan: Plan) -> Plan | NoPlan:
        """The same plan, made from the deployment as it is now."""
        return scale(
            self.kubernetes,
            replicas=plan.after["replicas"],
            service=plan.service,
            environment=plan.environment,
            usual=plan.preconditions["usual"],
        )

    def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
        """Size of the change, autoscaler, permissions for the do and the undo, and the server's own dry run."""
        wanted, current = plan.after["replicas"], plan.before["replicas"]
        limit = min(environment.max_replicas, max(round(environment.max_factor * current), plan.preconditions["usual"]))
        yield GuardResult("never to zero", wanted >= 1, f"{wanted} replicas asked for")
        yield GuardResult("blast radius", wanted <= limit, f"{current} to {wanted} replicas, at most {limit}")
        yield self._autoscaler()
        yield self._permission()
        yield self._dry_run(plan)
        if current == 0 and self.schema is not None:
            yield self.schema(self._image())

    def _image(self) -> str:
        found = self.kubernetes.deployment()
        images = {} if isinstance(found, Gap) else found.document["images"]
        container = str(self.kubernetes.workload.get("container", ""))
        return str(images.get(container, next(iter(images.values()), "")))

    def _autoscaler(self) -> GuardResult:
        found = self.kubernetes.horizontal_autoscaler()
        name = "no autoscaler owns the replicas"
        if isinstance(found, Gap):
            return GuardResult(name, found.kind == "empty", found.reason)
        owner = found.document["metadata"]["name"] if found.document.get("found") else ""
        return GuardResult(name, not owner, f"owned by {owner}" if owner else "none")

    def _permission(self) -> GuardResult:
        found = self.kubernetes.can("patch", group="apps", resource="deployments", subresource="scale")
        name = "may patch deployments/scale, for the do and the undo"
        if isinstance(found, Gap):
            return GuardResult(name, False, found.reason)
        allowed = bool(found.document.get("allowed"))
        return GuardResult(name, allowed, "allowed" if allowed else str(found.document.get("reason") or "denied"))

    def _dry_run(self, plan: Plan) -> GuardResult:
        from runbook_lib.errors import ActionError

        try:
            self.kubernetes.scale(replicas=plan.after["replicas"], uid=plan.preconditions["uid"],
                                  current=plan.before["replicas"], dry_run=True)  # fmt: skip
        except ActionError as error:
            return GuardResult("server-side dry run", False, str(error))
        return GuardResult("server-side dry run", True, "the server would accept it")

    def send(self, plan: Plan) -> None:
        """One patch of the scale subresource that holds only while uid and replicas are as observed."""
        self.kubernetes.scale(replicas=plan.after["replicas"], uid=plan.preconditions["uid"],
                              current=plan.before["replicas"])  # fmt: skip

    def read_back(self, plan: Plan) -> Mapping[str, Any]:
        """The replicas that the deployment asks for and has ready now."""
        found = self.kubernetes.deployment()
        if isinstance(found, Gap):
            return {"unreadable": found.reason}
        status = found.document.get("status", {})
        return {
            "replicas": found.document["spec"].get("replicas"),
            "ready": status.get("readyReplicas", 0),
            "available": status.get("availableReplicas", 0),
        }
