"""Random queries: the store gives the numbers of Prometheus 3, or an error where it gives one."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

QUERIES = 300
SEED = int(os.environ.get("RUNBOOK_RANDOM_SEED", "1"))
NAMES = [
    "http_request_duration_seconds_bucket",
    "http_request_duration_seconds_count",
    "http_request_duration_seconds_sum",
    "db_pool_connections",
    "app_info",
    "container_memory_working_set_bytes",
    "kube_deployment_spec_replicas",
    "gappy",
    "odd",
    "jitter",
    "small",
    "large",
    "one",
    "two",
]
LABELS = ["pod", "state", "route", "le", "version", "side", "kind", "service", "nope", "shared"]
VALUES = ("a", "b", "a|b", "used", ".*", "", "v1", "/orders", "0.2", ".+", "[ab]", "plain", "l")
NUMBERS = ("0", "1", "2", "0.5", "-1", "10", "NaN", "Inf", "-Inf", "3.7")
RANGED = [
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "resets",
    "changes",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "absent_over_time",
]
SINGLE = [
    "abs",
    "ceil",
    "floor",
    "exp",
    "sqrt",
    "ln",
    "log2",
    "log10",
    "sgn",
    "sin",
    "cos",
    "atan",
    "tanh",
    "round",
    "timestamp",
    "absent",
    "sort",
    "rad",
    "asinh",
]
AGGREGATIONS = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")


class Writer:
    """Writes queries of a given depth."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def one(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def selector(self) -> str:
        matchers = [
            f'{self.one(*LABELS)}{self.one("=", "!=", "=~", "!~")}"{self.one(*VALUES)}"'
            for _ in range(self.rng.choice((0, 0, 0, 1, 2)))
        ]
        return f"{self.one(*NAMES)}{{{','.join(matchers)}}}"

    def shift(self) -> str:
        return self.one("", "", "", "", " offset 1m", " offset -3m", " @ 1700001234", " @ end()", " offset 17s")

    def window(self, depth: int) -> str:
        if depth > 0 and self.rng.random() < 0.25:
            return (
                f"({self.vector(depth - 1)})[{self.one('2m', '5m', '10m')}:{self.one('30s', '1m', '')}]{self.shift()}"
            )
        return f"{self.selector()}[{self.one('30s', '1m', '5m', '7m30s', '20m', '15s')}]{self.shift()}"

    def labels(self) -> str:
        return f"({','.join(self.rng.sample(LABELS, self.rng.choice((0, 1, 1, 2, 3))))})"

    def scalar(self, depth: int) -> str:
        if depth <= 0 or self.rng.random() < 0.7:
            return self.one(*NUMBERS, "time()")
        return f"({self.scalar(depth - 1)} {self.one(*'+-*/%^')} scalar({self.vector(depth - 1)}))"

    def matched(self, depth: int) -> str:
        op = self.one("+", "-", "*", "/", *COMPARISONS, "and", "or", "unless")
        matching = self.one("", f" on {self.labels()}", f" ignoring {self.labels()}")
        if matching and op not in {"and", "or", "unless"}:
            matching += self.one("", " group_left", f" group_right ({self.one(*LABELS)})")
        return f"({self.vector(depth)} {op}{matching} {self.vector(depth)})"

    def vector(self, depth: int) -> str:
        if depth <= 0:
            return self.selector() + self.shift()
        below = depth - 1
        kinds = (
            lambda: f"{self.one(*RANGED)}({self.window(below)})",
            lambda: f"{self.one(*RANGED)}({self.window(below)})",
            lambda: f"quantile_over_time({self.scalar(0)}, {self.window(below)})",
            lambda: f"{self.one(*SINGLE)}({self.vector(below)})",
            lambda: f"{self.one('clamp_min', 'clamp_max')}({self.vector(below)}, {self.scalar(below)})",
            lambda: f"{self.one(*AGGREGATIONS)} {self.one('by', 'without')} {self.labels()} ({self.vector(below)})",
            lambda: f"quantile by {self.labels()} ({self.scalar(0)}, {self.vector(below)})",
            lambda: f"histogram_quantile({self.one(*NUMBERS)}, sum by (le, pod) (rate({NAMES[0]}[5m])))",
            lambda: (
                f'label_replace({self.vector(below)}, "{self.one(*LABELS)}", "x$1", "{self.one(*LABELS)}", "(.).*")'
            ),
            lambda: f'count_values("v", {self.vector(below)})',
            lambda: f"-{self.vector(below)}",
            lambda: f"({self.vector(below)} {self.one(*'+-*/%^', *COMPARISONS)} {self.scalar(below)})",
            lambda: f"({self.scalar(below)} {self.one('>', '<=')} bool {self.vector(below)})",
            lambda: self.matched(below),
        )
        return self.rng.choice(kinds)()


def test_random_queries_agree(embedded: Any, real: Any, alike: Any) -> None:
    """Labels, times and values are the same, and one server fails where the other does."""
    if real.version != 3:
        pytest.skip("only Prometheus 3 is what the store follows")
    writer, different, refused = Writer(SEED), [], 0
    for _ in range(QUERIES):
        query = writer.vector(writer.rng.choice((1, 2, 2, 3, 3)))
        expected, got = real.ask(query), embedded.ask(query)
        if any(answer == {"error": 400} for answer in got.values()):
            refused += 1
        elif not alike(expected, got, 1e-9):
            different.append(f"{query}\n  {real.name}: {expected}\n  embedded: {got}"[:2000])
    print(f"random queries: {QUERIES - refused - len(different)} alike, {refused} refused of {QUERIES}")  # noqa: T201
    assert [] == different, "\n".join(different)
    assert refused < QUERIES / 20
