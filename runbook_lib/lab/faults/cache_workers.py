"""Workers that load Valkey as a client with all rights."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import redis

from runbook_lib.lab.faults.group import Group
from runbook_lib.lab.faults.world import APPLICATION

# A script whose time grows with its data blocks every other client; here it is told how long to work.
_SCRIPT = (
    "local began = os.clock(); local n = 0; while os.clock() - began < tonumber(ARGV[1]) do n = n + 1 end; return n"
)


def connect(config: Mapping[str, Any]) -> redis.Redis:
    """A client as the default user."""
    password = (Path(config["secrets"]) / "redis_default_password").read_text(encoding="utf-8")
    return redis.Redis(
        host="127.0.0.1",
        port=config["redis_port"],
        password=password,
        client_name=APPLICATION,
        socket_timeout=10,
        protocol=2,
    )


class Clients(Group):
    """Several clients, each run by a thread.

    Args:
        config: the fault's configuration.
        ended: set when the fault is healed.
        step: what one client does again and again; returns how long it pauses then, in seconds.
        count: how many there are.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        ended: threading.Event,
        step: Callable[[redis.Redis, Mapping[str, Any]], float],
        count: int,
    ) -> None:
        super().__init__(count)
        self._config, self._ended, self._step = config, ended, step

    def run(self, _number: int) -> None:
        """One client; it ends when its connection is ended."""
        try:
            with connect(self._config) as client:
                while not self._ended.wait(self._step(client, self._config["parameters"])):
                    pass
        except redis.RedisError as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")


def slow_commands(config: Mapping[str, Any], ended: threading.Event) -> Group:
    """A script that blocks the server's only thread, again and again."""

    def step(client: redis.Redis, parameters: Mapping[str, Any]) -> float:
        client.eval(_SCRIPT, 0, str(parameters["block_seconds"]))
        return float(parameters["pause_seconds"])

    return Clients(config, ended, step, 1)


def memory_flood(config: Mapping[str, Any], ended: threading.Event) -> Group:
    """A batch that writes more than fits, so that the server throws out what others cached."""

    def step(client: redis.Redis, parameters: Mapping[str, Any]) -> float:
        size_bytes = int(parameters["value_kib"]) * 1024
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(int(parameters["batch"])):
                pipeline.set(f"report:{os.urandom(8).hex()}", os.urandom(size_bytes))
            pipeline.execute()
        return float(parameters["pause_seconds"])

    return Clients(config, ended, step, 1)


WORKERS: dict[str, Callable[[Mapping[str, Any], threading.Event], Group]] = {
    "slow_commands": slow_commands,
    "memory_flood": memory_flood,
}
