"""Requests at a fixed rate, whatever the answers do: the only way to see an outage at its size.

A closed loop waits for each answer before it asks again, so that it asks least when the service is worst (coordinated
omission). Here every request has its moment in advance. Two lanes take turns: a new connection for each request, as
most users have it, and kept connections, which also see what happens to those that are open during a rollout.
"""

from __future__ import annotations

import http.client
import json
import queue
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

from runbook_lib.model import Table
from runbook_lib.model.times import utc_now

COLUMNS = ("at", "delay_seconds", "lane", "status_code", "latency_seconds", "version", "error", "reopened")
#: An answer that takes longer is a failure: most callers have given up by then (domain reference C3).
TIMEOUT_SECONDS = 2.0
#: A probe that nobody stops ends by itself.
MAX_SECONDS = 1800.0
_LANES = ("new", "kept")
_MAX_BODY = 65536


class OpenLoop:
    """A probe that asks one address at a fixed rate from ``start`` to ``stop``.

    Args:
        url: ``http://`` or ``https://`` address with its path.
        headers: sent with every request.
        per_second: requests per second over both lanes.
        timeout_seconds: longest wait for one answer, seconds.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], *, per_second: float, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self.per_second, self._timeout = per_second, timeout_seconds
        self._parts, self._headers = urlsplit(url), {"Accept": "application/json", **headers}
        self._tls = ssl.create_default_context() if self._parts.scheme == "https" else None
        self._rows: list[tuple[Any, ...]] = []
        self._idle: queue.SimpleQueue[http.client.HTTPConnection] = queue.SimpleQueue()
        self._ended = threading.Event()
        # One thread for each request that may be waiting when every answer takes the whole timeout.
        self._pool = ThreadPoolExecutor(int(per_second * timeout_seconds) + 4, thread_name_prefix="open-loop")
        self._clock = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._clock.start()

    def stop(self) -> Table:
        """Ask no more, wait for the answers that are still due, and return a row for each request.

        Returns:
            Table ``at`` (when it was due, epoch seconds), ``delay_seconds`` (how late it was sent), ``lane``,
            ``status_code``, ``latency_seconds`` (from its sending), ``version``, ``error`` (empty for an answer below
            500), ``reopened`` (a kept connection was gone and the request was sent again on a new one).
        """
        self._ended.set()
        self._clock.join()
        self._pool.shutdown(wait=True)
        while not self._idle.empty():
            self._idle.get().close()
        return Table(COLUMNS, tuple(sorted(self._rows, key=itemgetter(0))))

    def _run(self) -> None:
        began, wall = time.perf_counter(), utc_now().timestamp()
        number = 0
        while not self._ended.wait(max(0.0, began + number / self.per_second - time.perf_counter())):
            due = number / self.per_second
            if due > MAX_SECONDS:
                return
            self._pool.submit(self._ask, wall + due, began + due, _LANES[number % 2])
            number += 1

    def _ask(self, at: float, due: float, lane: str) -> None:
        sent = time.perf_counter()
        status, version, error, reopened = self._answer(lane)
        latency = time.perf_counter() - sent
        good = status is not None and status < 500
        told = "" if good else error or f"answered {status}"
        self._rows.append((at, max(0.0, sent - due), lane, status, latency, version, told, reopened))

    def _answer(self, lane: str) -> tuple[int | None, str, str, bool]:
        kept = self._take() if lane == "kept" else None
        if kept is not None:
            try:
                return (*self._exchange(kept, lane), False)
            except (ConnectionError, http.client.BadStatusLine):
                # A server may close a connection between two requests; every HTTP client then asks again on a new one
                # (RFC 9112, section 9.3.1), so that this is no lost request.
                kept.close()
            except (OSError, http.client.HTTPException) as error:
                kept.close()
                return None, "", _word(error), False
        fresh = self._connection()
        try:
            return (*self._exchange(fresh, lane), kept is not None)
        except (OSError, http.client.HTTPException) as error:
            fresh.close()
            return None, "", _word(error), kept is not None

    def _exchange(self, connection: http.client.HTTPConnection, lane: str) -> tuple[int, str, str]:
        path = self._parts.path + (f"?{self._parts.query}" if self._parts.query else "")
        headers = self._headers if lane == "kept" else {**self._headers, "Connection": "close"}
        connection.request("GET", path or "/", headers=headers)
        answer = connection.getresponse()
        body = answer.read(_MAX_BODY)
        if lane == "kept" and not answer.will_close and answer.isclosed():
            self._idle.put(connection)
        else:
            connection.close()
        return answer.status, _version(body), ""

    def _take(self) -> http.client.HTTPConnection | None:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return None

    def _connection(self) -> http.client.HTTPConnection:
        host, port = str(self._parts.hostname), self._parts.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=self._timeout)


def _version(body: bytes) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    return str(found.get("version", "")) if isinstance(found, dict) else ""


def _word(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else " ".join(str(error).split()) or "broken"
