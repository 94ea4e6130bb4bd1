"""Requests that a good rollout loses, asked 50 times a second: the lab, Helm, and the shipped notebook ``deploy``.

``python -m benchmarks.rollout`` starts a lab and deploys its releases in turn, each planned, approved and applied as a
person does it. What the records say of each probe is printed, and the 95 % bound over the requests of all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from runbook_lib.analysis.downtime import bound
from runbook_lib.lab import supervisor

ROOT = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).with_name("runbook")
#: Releases that each run on the schema which the one before it left.
TAGS = ("v2", "v3")
_TOLD = re.compile(r"(\d+) of (\d+) requests lost")


def deployed(folder: Path, tag: str) -> dict[str, Any]:
    """Plan, approve and apply one release; what the run says as JSON."""
    words = ("run", "deploy", "--json", "-p", f"image_tag={tag}", "-p", "window_minutes=5")
    told = _json(folder, *words)
    if not told["plans"]:
        raise SystemExit(f"{tag}: no plan; see {told['record']}")
    granted = _json(folder, "approve", told["run_id"], "--plan", told["plans"][-1]["digest"], "--json")
    return _json(folder, *words, "--apply", "--approval", granted["approval"])


def _json(folder: Path, *words: str) -> dict[str, Any]:
    environment = {
        **os.environ,
        "RUNBOOK_LAB": str(folder),
        "RUNBOOK_CATALOG": str(folder / "runbook.toml"),
        "RUNBOOK_ARCHIVE": str(folder / "outputs"),
    }
    done = subprocess.run(
        [str(COMMAND), *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if not done.stdout:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def counted(told: dict[str, Any]) -> tuple[int, int] | None:
    """Requests lost and asked, as a run's findings say; None where its probe could not tell."""
    for one in (*told["findings"], *told["ruled_out"]):
        if match := _TOLD.search(one["title"]):
            return int(match[1]), int(match[2])
    return None


def main() -> int:
    """Print the figures; 0 when no request was lost in any rollout, 1 when one was, or a probe could not tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=4)
    given = parser.parse_args()
    lost = asked = untold = 0
    with tempfile.TemporaryDirectory(prefix="runbook-rollout-") as place:
        folder = Path(place) / "lab"
        supervisor.up(folder)
        try:
            text = (ROOT / "runbook.toml").read_text(encoding="utf-8")
            (folder / "runbook.toml").write_text(text.replace(".lab/", ""), encoding="utf-8")
            for number in range(given.rollouts):
                tag = TAGS[number % len(TAGS)]
                told = deployed(folder, tag)
                found = counted(told)
                words = f"{found[0]} of {found[1]} requests lost" if found else "the probe could not tell"
                print(f"{tag}: {told['outcomes'][0]['outcome']}, {told['verification']['status']}; {words}", flush=True)
                untold += found is None
                lost, asked = lost + (found or (0, 0))[0], asked + (found or (0, 0))[1]
        finally:
            supervisor.down(folder)
    print(f"{lost} of {asked} requests lost at 50 a second (at most {bound(lost, asked):.3%}, 95 %; goal 0)")
    return int(bool(lost or untold))


if __name__ == "__main__":
    raise SystemExit(main())
