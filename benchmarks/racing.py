"""How often many processes that apply one plan at once have more or less than one effect: never, in 10,000 trials.

``python -m benchmarks.racing`` lets 25 to 100 processes race in each trial. The target is a file with a number and a
count of its changes; half of all answers are lost after the effect. A third of the trials has one approval for all, a
third needs none, and a third has no lock either: then only the compare-and-set inside the request is left.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runbook_lib import actions
from runbook_lib.actions.lock import file_lock
from runbook_lib.actions.protocol import Context
from runbook_lib.errors import ActionRejectedError, OutcomeUnknownError
from runbook_lib.model import Environment, GuardResult, NoPlan, Plan

PLAN = Plan(
    kind="scale",
    service="api",
    environment="prod",
    target="production/deployment/api-deployment",
    before={"replicas": 3},
    after={"replicas": 5},
    preconditions={"uid": "u-1"},
    effect="runs 5 pods instead of 3",
    way_back="scale back to 3",
    command="kubectl scale deployment api-deployment --replicas=5",
)
MODES = ("one-approval", "no-approval", "no-lock")
DROPPED = 0.5


@dataclass(frozen=True)
class Register:
    """A number that is changed by compare-and-set, and that counts its changes."""

    path: Path
    dropped: bool

    def read(self) -> dict[str, int]:
        """The number and the count."""
        with self.path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            found: dict[str, int] = json.load(file)
            return found

    def observe(self, plan: Plan) -> Plan | NoPlan:
        """The plan against the number as it is."""
        return replace(plan, before={"replicas": self.read()["replicas"]})

    def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
        """None of its own."""
        return iter(())

    def send(self, plan: Plan) -> None:
        """Change the number if it is still the plan's; the answer may be lost after that."""
        with self.path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            found = json.load(file)
            if found["replicas"] != plan.before["replicas"]:
                raise ActionRejectedError("another number by now")
            file.seek(0)
            file.write(json.dumps({"replicas": plan.after["replicas"], "effects": found["effects"] + 1}).encode())
        if self.dropped:
            raise OutcomeUnknownError("the connection broke")

    def read_back(self, plan: Plan) -> Mapping[str, Any]:
        """The number now."""
        return self.read()


@dataclass(frozen=True)
class Trial:
    """One race.

    Args:
        folder: the register and the ledger.
        mode: one of ``MODES``.
        racers: how many processes race.
        dropped: whether the answer is lost after the effect.
        approval: path of the one approval; empty when none is needed.
    """

    folder: Path
    mode: str
    racers: int
    dropped: bool
    approval: str

    def apply(self, racer: int) -> str:
        """Apply the plan as one of the racers; every fifth is the same run, started again. Returns the outcome."""
        ledger = self.folder / "ledger"
        rule = "one" if self.mode == "one-approval" else "none"
        known = {"one": ("configuration",)}
        run = Context(
            run_id=f"run-{racer - racer % 5}",
            actor="ann",
            environment=Environment("prod", "", ("scale",), {"default": rule}, {}, max_changes=10**6, known_by=known),
            requested=True,
            ledger=ledger,
            journal=_forget,
            lock=_no_lock if self.mode == "no-lock" else (lambda target: file_lock(ledger / "locks", target)),
        )
        return str(actions.apply(Register(self.folder / "register", self.dropped), PLAN, run, self.approval).status)


def _forget(_kind: str, _data: Mapping[str, Any]) -> None:
    """A journal that keeps nothing."""


def _no_lock(_target: str) -> Callable[[], None]:
    """A lock that keeps nobody out."""
    return lambda: None


def prepare(folder: Path, number: int, rng: random.Random, most: int) -> Trial:
    """A fresh register and ledger."""
    place = folder / str(number)
    place.mkdir()
    (place / "register").write_text(json.dumps({"replicas": 3, "effects": 0}))
    mode = MODES[number % len(MODES)]
    granted = mode == "one-approval"
    approval = str(actions.grant(PLAN, place, approver="bob", known_by="configuration")) if granted else ""
    return Trial(place, mode, rng.randint(min(25, most), most), rng.random() < DROPPED, approval)


def race(trials: int, *, most: int = 100, seed: int = 1, report: Callable[[str], None] = lambda _: None) -> list[str]:
    """Run trials and return what was wrong in any of them; nothing, when each had exactly one effect.

    Args:
        trials: how many.
        most: the largest number of processes in one trial.
        seed: draws sizes and lost answers.
        report: is told how it goes.
    """
    rng, wrong, began = random.Random(seed), list[str](), time.monotonic()
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shared if os.access(shared, os.W_OK) else None))
    context = multiprocessing.get_context("fork")
    gates = [context.Pipe() for _ in range(most)]
    workers = [context.Process(target=_work, args=(far, number), daemon=True) for number, (_, far) in enumerate(gates)]
    for worker in workers:
        worker.start()
    try:
        for number in range(trials):
            trial = prepare(folder, number, rng, most)
            for near, _ in gates[: trial.racers]:
                near.send(trial)
            told = [near.recv() for near, _ in gates[: trial.racers]]
            effects = json.loads((trial.folder / "register").read_text())["effects"]
            known = sum(one in {"applied", "unknown"} for one in told)
            if (effects, known) != (1, 1):
                wrong.append(f"trial {number} ({trial.mode}): {effects} effects, {known} told of one")
            shutil.rmtree(trial.folder)
            if number and number % 1000 == 0:
                report(f"{number} trials, {len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    finally:
        for near, _ in gates:
            near.send(None)
        for worker in workers:
            worker.join(10)
        shutil.rmtree(folder)
    return wrong


def _work(gate: Any, number: int) -> None:
    while (trial := gate.recv()) is not None:
        gate.send(trial.apply(number))


def main() -> None:
    """Race, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--most", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    wrong = race(chosen.trials, most=chosen.most, seed=chosen.seed, report=print)
    # With no event in n trials the 95 % bound of its rate is 3/n.
    bound = f"; below {3 / chosen.trials:.2g} of all trials with 95 % confidence" if not wrong else ""
    print(f"{chosen.trials} trials of 25 to {chosen.most} processes: {len(wrong)} without exactly one effect{bound}")
    for one in wrong[:20]:
        print(one)


if __name__ == "__main__":
    main()
