"""Values that the server fills in where a client left them out."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

Object = dict[str, Any]


def pod_spec(spec: Object) -> None:
    """Fill in a pod's or a template's specification."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        _container(container)
    for volume in spec.get("volumes") or []:
        for source in ("secret", "configMap", "downwardAPI", "projected"):
            if source in volume:
                volume[source].setdefault("defaultMode", 0o644)
        if len(volume) == 1:
            volume["emptyDir"] = {}
        if "hostPath" in volume:
            volume["hostPath"].setdefault("type", "")


def _container(container: Object) -> None:
    image = container.get("image", "")
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    container.setdefault("imagePullPolicy", "Always" if tag in ("", "latest") and "@" not in image else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and "httpGet" in hook:
            _http_get(hook["httpGet"])
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")


def _probe(probe: Object) -> None:
    for key, value in {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}.items():
        probe.setdefault(key, value)
    if "httpGet" in probe:
        _http_get(probe["httpGet"])
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _http_get(action: Object) -> None:
    action.setdefault("path", "/")
    action.setdefault("scheme", "HTTP")


def _pod(item: Object) -> None:
    spec = item["spec"]
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        resources = container["resources"]
        for name, amount in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, amount)


def _deployment(item: Object) -> None:
    spec = item["spec"]
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec["strategy"]
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    pod_spec(spec["template"]["spec"])


def _replica_set(item: Object) -> None:
    item["spec"].setdefault("replicas", 1)
    pod_spec(item["spec"]["template"]["spec"])


def _service(item: Object) -> None:
    spec = item["spec"]
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("type", "ClusterIP")
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port["port"]
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _endpoints(item: Object) -> None:
    for subset in item.get("subsets") or []:
        for port in subset.get("ports") or []:
            port.setdefault("protocol", "TCP")


def _endpoint_slice(item: Object) -> None:
    for port in item.get("ports") or []:
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _autoscaler(item: Object) -> None:
    item["spec"].setdefault("minReplicas", 1)
    if not item["spec"].get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        item["spec"]["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def _job(item: Object) -> None:
    spec = item["spec"]
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    template = spec["template"]
    pod_spec(template["spec"])
    if not item["metadata"].get("labels") and template["metadata"].get("labels"):
        item["metadata"]["labels"] = dict(template["metadata"]["labels"])


def _secret(item: Object) -> None:
    item.setdefault("type", "Opaque")
    texts = item.pop("stringData", None) or {}
    if texts:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in texts.items()}
        item["data"] = (item.get("data") or {}) | data


def _node(item: Object) -> None:
    capacity = item["status"].get("capacity")
    if capacity:
        item["status"].setdefault("allocatable", dict(capacity))


def _limit_range(item: Object) -> None:
    for row in item["spec"].get("limits") or []:
        if row.get("type") != "Container":
            continue
        for source, target in (("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")):
            for name, amount in (row.get(source) or {}).items():
                row.setdefault(target, {}).setdefault(name, amount)


def _namespace(item: Object) -> None:
    name = item["metadata"].get("name")
    if name:
        item["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def _network_policy(item: Object) -> None:
    spec = item["spec"]
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]:
        for port in rule.get("ports") or []:
            port.setdefault("protocol", "TCP")


def _binding(item: Object) -> None:
    if not item["roleRef"].get("apiGroup"):
        item["roleRef"]["apiGroup"] = "rbac.authorization.k8s.io"
    for subject in item.get("subjects") or []:
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = "rbac.authorization.k8s.io"


def _api_service(item: Object) -> None:
    service = item["spec"].get("service")
    if service is not None:
        service.setdefault("port", 443)


DEFAULTS: dict[str, Callable[[Object], None]] = {
    "core.v1.Pod": _pod,
    "core.v1.Service": _service,
    "core.v1.Endpoints": _endpoints,
    "core.v1.Secret": _secret,
    "core.v1.Node": _node,
    "core.v1.LimitRange": _limit_range,
    "core.v1.Namespace": _namespace,
    "apps.v1.Deployment": _deployment,
    "apps.v1.ReplicaSet": _replica_set,
    "discovery.v1.EndpointSlice": _endpoint_slice,
    "autoscaling.v2.HorizontalPodAutoscaler": _autoscaler,
    "batch.v1.Job": _job,
    "networking.v1.NetworkPolicy": _network_policy,
    "rbac.v1.RoleBinding": _binding,
    "rbac.v1.ClusterRoleBinding": _binding,
    "apiregistration.v1.APIService": _api_service,
}


def fill(type_name: str, item: Object) -> None:
    """Fill in the defaults of a canonical object in place."""
    if type_name in DEFAULTS:
        DEFAULTS[type_name](item)
