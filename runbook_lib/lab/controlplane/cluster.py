"""Put the parts together: store, objects of a fresh cluster, controllers, HTTP."""

from __future__ import annotations

from runbook_lib.lab.controlplane import bootstrap
from runbook_lib.lab.controlplane.access import User
from runbook_lib.lab.controlplane.controllers.budgets import BudgetController
from runbook_lib.lab.controlplane.controllers.collector import GarbageCollector
from runbook_lib.lab.controlplane.controllers.deployments import DeploymentController
from runbook_lib.lab.controlplane.controllers.endpoints import EndpointsController
from runbook_lib.lab.controlplane.controllers.jobs import JobController
from runbook_lib.lab.controlplane.controllers.namespaces import NamespaceController
from runbook_lib.lab.controlplane.controllers.nodes import NodeController
from runbook_lib.lab.controlplane.controllers.replicasets import ReplicaSetController
from runbook_lib.lab.controlplane.controllers.runner import Runner
from runbook_lib.lab.controlplane.controllers.scheduler import Scheduler
from runbook_lib.lab.controlplane.resources import Resources
from runbook_lib.lab.controlplane.server import Server
from runbook_lib.lab.controlplane.store import HISTORY_EVENTS, Store

CONTROLLERS = (
    NamespaceController,
    DeploymentController,
    ReplicaSetController,
    Scheduler,
    EndpointsController,
    JobController,
    BudgetController,
    NodeController,
    GarbageCollector,
)


class Cluster:
    """One control plane.

    Args:
        tokens: users by bearer token.
        history_events: changes that a watch can start behind.

    Attributes:
        server: the ASGI application.
        runner: the controllers; started by whoever owns the event loop.
    """

    def __init__(self, tokens: dict[str, User], history_events: int = HISTORY_EVENTS) -> None:
        self.resources = Resources(Store(history_events))
        bootstrap.populate(self.resources)
        self.server = Server(self.resources, tokens)
        self.runner = Runner(self.resources, [controller(self.resources) for controller in CONTROLLERS])
