"""Record the real API server's answers to every case: ``python -m tests.lab.controlplane.contract.record``.

Needs a real control plane, and the environment variable that ``servers.REAL`` names. Writes ``answers/*.json``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.lab.controlplane.contract import conversation
from tests.lab.controlplane.servers import REAL, found_programs, start_real

ANSWERS = Path(__file__).parent / "answers"


def main() -> int:
    """Record all cases; returns the exit code."""
    if found_programs() is None:
        sys.stderr.write(f"no real control plane, or {REAL} does not say real\n")
        return 2
    cases = conversation.load()
    groups: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        server = start_real(Path(directory), controllers=False)
        try:
            for number, (name, case) in enumerate(cases):
                group, _, title = name.partition("/")
                groups.setdefault(group, {})[title] = conversation.run(server, case, f"case-{number}")
        finally:
            server.stop()
    for path in ANSWERS.glob("*.json"):
        path.unlink()
    for group, answers in groups.items():
        lines = [
            f"{json.dumps(title)}: {json.dumps(answer, separators=(',', ':'), sort_keys=True)}"
            for title, answer in answers.items()
        ]
        (ANSWERS / f"{group}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    sys.stdout.write(f"{sum(map(len, groups.values()))} cases recorded\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
