"""Rules that objects keep, with the words in which the server says that one is broken."""

from __future__ import annotations

from typing import Any

from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.rules import metadata, others, pods, workloads
from runbook_lib.lab.controlplane.status import Cause
from runbook_lib.lab.controlplane.store import Object

CREATE = {
    "core.v1.Pod": pods.check_pod,
    "apps.v1.Deployment": workloads.check_deployment,
    "apps.v1.ReplicaSet": workloads.check_replica_set,
    "batch.v1.Job": workloads.check_job,
    **others.CREATE,
}
UPDATE = {
    "core.v1.Pod": pods.check_pod_update,
    "apps.v1.Deployment": workloads.check_deployment_update,
    "apps.v1.ReplicaSet": workloads.check_replica_set_update,
    "batch.v1.Job": workloads.check_job_update,
    **others.UPDATE,
}


def check_create(kind: Kind, item: Object) -> list[Cause]:
    """Broken rules of a new object."""
    causes = metadata.check(kind, item)
    rule = CREATE.get(kind.type_name)
    return causes + (rule(item) if rule else [])


def check_update(kind: Kind, live: Object, item: Object, subresource: str) -> list[Cause]:
    """Broken rules of a changed object."""
    causes = metadata.check(kind, item)
    if subresource == "status":
        return causes + (workloads.check_deployment_status(item) if kind.resource == "deployments" else [])
    rule: Any = UPDATE.get(kind.type_name)
    if rule:
        return causes + list(rule(live, item))
    create = CREATE.get(kind.type_name)
    return causes + (create(item) if create else [])
