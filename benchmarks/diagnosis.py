"""How often the high-latency runbook names what is broken: real faults on the lab, a confusion matrix.

``python -m benchmarks.diagnosis`` starts a lab of its own, breaks it in every known way with several sizes, loads and
waiting times, runs the runbook each time as a person would, and stops the lab. A full round takes hours; ``--faults``,
``--seeds`` and ``--healthy`` choose a part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runbook_lib.lab import supervisor
from runbook_lib.lab.faults import registry

ROOT = Path(__file__).resolve().parents[1]
USUAL_RATE = 20.0
RUN_SECONDS = 300.0
_P95 = 'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{service="api"}[30s])))'

#: Fault to its sizes, drawn anew for every seed; a fault that is not here has no size.
SIZES: Mapping[str, Callable[[random.Random], dict[str, Any]]] = {
    "long_query": lambda rng: {"sessions": rng.randint(2, 4)},
    "lock_contention": lambda rng: {"sessions": rng.randint(2, 5), "hold_seconds": round(rng.uniform(1.0, 3.0), 1)},
    "idle_in_transaction": lambda rng: {"sessions": rng.randint(1, 5)},
    "connection_saturation": lambda rng: {"sessions": rng.randint(50, 90)},
    "redis_slow": lambda rng: {"block_seconds": round(rng.uniform(0.3, 0.8), 2)},
    "redis_eviction": lambda rng: {"maxmemory_mib": rng.randint(6, 12)},
    "redis_down": lambda rng: {"mode": rng.choice(["hang", "stop"])},
    "cpu_bound": lambda rng: {"work_ms": float(rng.randint(38, 56))},
    "bad_release": lambda rng: {"tag": rng.choice(["v2-slow", "v2-pool"])},
    "crash_loop": lambda rng: {"after_seconds": float(rng.randint(5, 12))},
    "slow_dependency": lambda rng: {"seconds": round(rng.uniform(0.5, 1.5), 1)},
    "traffic_surge": lambda rng: {"factor": round(rng.uniform(11.0, 16.0), 1)},
    "postgres_down": lambda rng: {"mode": rng.choice(["stop", "hang"])},
}


@dataclass(frozen=True)
class Case:
    """One run.

    Args:
        fault: what is broken.
        seed: draws its size, the load and the waiting time.
        expected: the cause that the first finding must have.
        found: the cause that it had; ``none`` without findings.
        verdict: of the run.
        right: whether the cause is right and the verdict fits.
        seconds: what the run took.
        sizes: the fault's parameters.
    """

    fault: str
    seed: int
    expected: str
    found: str
    verdict: str
    right: bool
    seconds: float
    sizes: Mapping[str, Any]


class Bench:
    """A lab and the runbook on it.

    Args:
        directory: the lab's folder.
        minutes: window of evidence, minutes.
    """

    def __init__(self, directory: Path, minutes: int) -> None:
        self.directory, self.minutes = directory, minutes
        self.status = supervisor.up(directory)
        self.catalogue = directory / "runbook.toml"
        text = (ROOT / "runbook.toml").read_text(encoding="utf-8")
        self.catalogue.write_text(text.replace(".lab/environment.toml", "environment.toml"), encoding="utf-8")

    def case(self, name: str, seed: int) -> Case:
        """Break, wait, run, heal, and wait until all is well again."""
        fault, rng = registry.get(name), random.Random(f"{name}:{seed}")
        sizes = SIZES[name](rng) if name in SIZES else {}
        self._load(round(rng.uniform(16, 24), 1))
        time.sleep(rng.uniform(30, 45))
        try:
            registry.apply(self.directory, name, sizes)
            time.sleep(rng.uniform(35, 75))
            started = time.monotonic()
            told = self._run()
            seconds = time.monotonic() - started
        finally:
            registry.heal(self.directory)
        self._recover()
        found = told["findings"][0]["cause"] if told["findings"] else "none"
        fits = (told["verdict"] == "healthy") == (fault.cause == "none")
        right = found == fault.cause and fits
        return Case(name, seed, fault.cause, found, told["verdict"], right, round(seconds, 1), sizes)

    def _run(self) -> dict[str, Any]:
        command = [str(Path(sys.executable).with_name("runbook")), "run", "high_latency", "--json"]
        command += ["-p", f"window_minutes={self.minutes}", "--out", str(self.directory / "outputs")]
        environment = {**os.environ, "RUNBOOK_CATALOG": str(self.catalogue)}
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )
        if not done.stdout.strip():
            raise SystemExit(f"the run ended with {done.returncode} and no JSON:\n{done.stderr[-2000:]}")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def _load(self, rate: float) -> None:
        body = json.dumps({"rate": rate}).encode()
        request = urllib.request.Request(f"{self.status['load_url']}/rate", data=body, method="PUT")
        urllib.request.urlopen(request, timeout=5).close()

    def _recover(self) -> None:
        """Wait until p95 is well below the objective three times in a row, two minutes at most."""
        self._load(USUAL_RATE)
        well, deadline = 0, time.monotonic() + 120
        while well < 3 and time.monotonic() < deadline:
            time.sleep(10)
            well = well + 1 if self._p95() < 0.15 else 0

    def _p95(self) -> float:
        query = urllib.parse.urlencode({"query": _P95})
        try:
            with urllib.request.urlopen(f"{self.status['prometheus_url']}/api/v1/query?{query}", timeout=5) as answer:
                result = json.load(answer)["data"]["result"]
        except (urllib.error.URLError, TimeoutError, KeyError):
            return float("inf")
        return float(result[0]["value"][1]) if result else float("inf")


def matrix(cases: Sequence[Case]) -> str:
    """Faults against the causes that were named, right answers marked."""
    causes = sorted({case.found for case in cases} | {case.expected for case in cases})
    counts = Counter((case.fault, case.found) for case in cases)
    lines = ["fault (expected cause)".ljust(48) + " right  named"]
    for fault in dict.fromkeys(case.fault for case in cases):
        mine = [case for case in cases if case.fault == fault]
        named = ", ".join(f"{cause} x{counts[fault, cause]}" for cause in causes if counts[fault, cause])
        right = sum(case.right for case in mine)
        lines.append(f"{fault} ({mine[0].expected})".ljust(48) + f" {right}/{len(mine)}".ljust(8) + f"{named}")
    total = sum(case.right for case in cases)
    false = sum(case.expected != "none" and case.verdict == "healthy" for case in cases)
    lines += [f"right: {total} of {len(cases)}", f"healthy although something was broken: {false}"]
    return "\n".join(lines)


def main() -> int:
    """Run the cases that were asked for; 0 when all are right."""
    names = [fault.name for fault in registry.all_faults() if fault.name != "none"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", default=",".join(names), help="names of faults, separated by commas")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each fault")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--healthy", type=int, default=20, help="runs without a fault")
    parser.add_argument("--window-minutes", type=int, default=60)
    parser.add_argument("--lab", type=Path, help="folder of a lab that is left running; default: one of its own")
    parser.add_argument("--json", type=Path, help="file for the cases, one JSON object a line")
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    plan = [(name, seed) for seed in seeds for name in given.faults.split(",") if name]
    plan += [("none", seed) for seed in range(given.healthy)]
    cases: list[Case] = []
    with tempfile.TemporaryDirectory(prefix="diagnosis-") as folder:
        directory = given.lab or Path(folder)
        bench = Bench(directory, given.window_minutes)
        try:
            for name, seed in plan:
                case = bench.case(name, seed)
                cases.append(case)
                print(f"{'right' if case.right else 'WRONG'} {name} {seed}: {case.found}, {case.verdict}", flush=True)
                if given.json:
                    with given.json.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(case)) + "\n")
        finally:
            if not given.lab:
                supervisor.down(directory)
    print(matrix(cases))
    return 0 if all(case.right for case in cases) else 1


if __name__ == "__main__":
    raise SystemExit(main())
