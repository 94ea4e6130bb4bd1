"""What every kind of action offers to the one guarded path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from runbook_lib.model import Environment, GuardResult, NoPlan, OutcomeStatus, Plan


class Action(Protocol):
    """One kind of action, bound to the client that carries it out."""

    def observe(self, plan: Plan) -> Plan | NoPlan:
        """Make the plan again from the target as it is now; same world, same digest."""

    def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
        """The conditions of this kind, each checked now."""

    def send(self, plan: Plan) -> None:
        """Send exactly one request, compare-and-set inside it.

        Raises:
            ActionRejectedError: the target refused; nothing changed.
            OutcomeUnknownError: sent, and it cannot be told whether it took effect.
        """

    def read_back(self, plan: Plan) -> Mapping[str, Any]:
        """The target's state after the request."""


@runtime_checkable
class InCluster(Protocol):
    """A kind that changes a workload of a cluster, where a lease keeps other runs out meanwhile."""

    @property
    def kubernetes(self) -> Any:
        """The client of that cluster."""


@runtime_checkable
class Settles(Protocol):
    """A kind whose effect cannot be told from ``after`` alone."""

    def settled(self, plan: Plan, found: Mapping[str, Any]) -> OutcomeStatus:
        """What a request whose answer was lost has come to, from what ``read_back`` found."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the guarded path needs to know of the run.

    Args:
        run_id: the run that acts.
        actor: who asked for it.
        environment: where it acts.
        requested: whether the person asked for changes (``--apply``, or an approval card).
        ledger: folder of intents, spent approvals and locks; shared by all runs of an archive.
        journal: writes one durable event ``(kind, data)`` before it returns.
        lock: takes the lock of a target and returns its release; raises GuardError when another holds it.
    """

    run_id: str
    actor: str
    environment: Environment
    requested: bool
    ledger: Path
    journal: Callable[[str, Mapping[str, Any]], None]
    lock: Callable[[str], Callable[[], None]]
