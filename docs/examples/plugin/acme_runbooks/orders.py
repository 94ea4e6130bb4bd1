"""The queue of orders: how many wait, how long, and who takes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from runbook_lib.clients.plugin import Answer, Http, PluginClient, Question, bearer
from runbook_lib.model import Evidence, Gap, Series


class OrdersClient(PluginClient):
    """Questions to the queue of orders, ``run.orders`` in a notebook."""

    source = "orders"
    settings: ClassVar[Mapping[str, type]] = {"url": str, "token": str, "queue": str}
    required = ("url", "queue")
    queries_file = Path(__file__).with_name("orders.toml")
    first = "state"

    def state(self) -> Evidence | Gap:
        """Document ``{queue, waiting, consumers, oldest_seconds}``; ``oldest_seconds`` is None when nothing waits."""
        return self._ask("state", self._fetch_state)

    def waiting(self) -> Evidence | Gap:
        """Series of the orders that waited, over the window of the run."""
        return self._ask("waiting", self._fetch_waiting, window=self.window)

    @property
    def _http(self) -> Http:
        return self._shared(self._open)

    def _open(self) -> Http:
        return Http(
            self.source,
            self._setting("url"),
            headers=bearer(self._secret("token")),
            connect_seconds=self.connect_seconds,
            total_seconds=self.total_seconds,
        )

    def _fetch_state(self, question: Question) -> Answer:
        found = self._http.get(f"/queues/{self._setting('queue')}").json()
        return Answer({key: found[key] for key in ("queue", "waiting", "consumers", "oldest_seconds")})

    def _fetch_waiting(self, question: Question) -> Answer:
        window = question.window or self.window
        between = {"from": window.start.timestamp(), "to": window.end.timestamp()}
        found = self._http.get(f"/queues/{self._setting('queue')}/waiting", between).json()
        return Answer((Series.of((float(at), float(count)) for at, count in found),))
