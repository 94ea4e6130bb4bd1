"""Empty a namespace that is being deleted, then let it go."""

from __future__ import annotations

from collections.abc import Iterable

from runbook_lib.lab.controlplane import kinds
from runbook_lib.lab.controlplane.controllers import base
from runbook_lib.lab.controlplane.controllers.runner import Key
from runbook_lib.lab.controlplane.resources import Resources, Write
from runbook_lib.lab.controlplane.store import Change, Object

ACCOUNT = kinds.get("serviceaccounts")


class NamespaceController:
    """Gives a namespace its default service account; deletes the content of one that terminates."""

    name = "namespace-controller"

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def concerned(self, change: Change) -> Iterable[Key]:
        """Namespaces, and the namespace of anything that was removed."""
        metadata = change.object["metadata"]
        if change.key == base.NAMESPACE.key:
            yield "", metadata["name"]
        elif change.type == "DELETED" and metadata.get("namespace"):
            yield "", metadata["namespace"]

    def reconcile(self, key: Key) -> float | None:
        """Create the default account, or delete everything and then the namespace."""
        name = key[1]
        namespace = self._resources.find(base.NAMESPACE, "", name)
        if namespace is None:
            return None
        if not namespace["metadata"].get("deletionTimestamp"):
            if self._resources.find(ACCOUNT, name, "default") is None:
                self._resources.create(ACCOUNT, name, {"metadata": {"name": "default"}}, Write(base.MANAGER))
            return None
        left = False
        for kind in kinds.KINDS:
            if not kind.namespaced or kind.storage:
                continue
            for item in self._resources.store.list(kind, name):
                if not item["metadata"].get("deletionTimestamp"):
                    self._resources.delete(kind, name, item["metadata"]["name"], {"propagationPolicy": "Background"})
            left = left or bool(self._resources.store.list(kind, name))
        if left:
            return None

        def finish(target: Object) -> None:
            target["spec"]["finalizers"] = []

        self._resources.modify(base.NAMESPACE, "", name, finish, Write(base.MANAGER), "finalize")
        return None
