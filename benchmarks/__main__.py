"""``make bench``: ratios against peers, each measured side by side in this run; each line can be run alone.

``python -m benchmarks`` measures every line and prints the table; ``python -m benchmarks NAME ...`` measures some;
``--write`` puts the lines that were measured into docs/performance.md.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Mapping

from benchmarks.table import ROOT, Row

#: Name of a line to the module and the function that measures it; ``main`` when only the module is named.
LINES: Mapping[str, str] = {
    "start": "startup",
    "warm": "warm",
    "fleet": "fleet",
    "matrix": "matrix",
    "quantiles": "quantiles",
    "sizes": "sizes",
    "record": "records:rows",
    "growth": "growth",
    "archive": "archive",
    "webhook": "webhook",
}
_DOCUMENT = ROOT / "docs" / "performance.md"


def main() -> None:
    """Measure, print, and write down where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[1])
    parser.add_argument("names", nargs="*", choices=[[], *LINES], help=f"any of: {', '.join(LINES)}; default: all")
    parser.add_argument("--write", action="store_true", help=f"write the lines into {_DOCUMENT.relative_to(ROOT)}")
    asked = parser.parse_args()
    print(_line("what", "ours", "peer", "ratio", "goal", "reached"))
    for name in asked.names or LINES:
        module, _, function = LINES[name].partition(":")
        rows = getattr(importlib.import_module(f"benchmarks.{module}"), function or "main")()
        for row in rows:
            goal = f"{row.goal:g}" if row.goal else "-"
            print(_line(row.what, row.ours, row.peer, f"{row.ratio:.2f}", goal, row.met), row.note, flush=True)
        if asked.write:
            _write(name, rows)
    print("more, by themselves: python -m benchmarks.records, .racing, .outages; .diagnosis takes hours")
    sys.exit(0)


def _line(*cells: str) -> str:
    widths = (42, 14, 48, 7, 6, 8)
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))


def _short(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def _write(name: str, rows: list[Row]) -> None:
    """Replace the rows of one line in the document's table."""
    text = _DOCUMENT.read_text(encoding="utf-8")
    lines = "".join(
        f"| {row.what} | {row.ours} | {row.peer} | {_short(row.ratio)} | {f'{row.goal:g}' if row.goal else '-'} "
        f"| {row.met} | {row.note} |\n"
        for row in rows
    )
    head = "| what | ours | peer | ratio | goal | reached | checked in the same run |\n|---|---|---|---|---|---|---|\n"
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    if begin not in text:
        raise SystemExit(f"{_DOCUMENT}: has no place for {name!r}: {begin.strip()}")
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    _DOCUMENT.write_text(pattern.sub(lambda _: f"{begin}{head}{lines}{end}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
