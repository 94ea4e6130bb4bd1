"""The page over all targets: worst first, each with a link to its record; one file, no script, no network."""

from __future__ import annotations

import base64
import hashlib
import os
from collections import Counter
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib.model.times import duration
from runbook_lib.record.views.report import level, sign, words

if TYPE_CHECKING:
    from runbook_lib.fleet.results import Fleet, Result


def page(fleet: Fleet) -> str:
    """The page as HTML."""
    style = resources.files("runbook_lib.record.views").joinpath("templates/report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    left = len(fleet.targets) - len(fleet.results)
    state = f"ended {fleet.ended}" if fleet.ended else f"{left} of {len(fleet.targets)} targets have not ended yet"
    rows = "\n".join(_row(one, fleet.path) for one in fleet.worst_first)
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Target", "Verdict", "Found", "Gaps", "Took", "Record"))
    title = f"{escape(words(fleet.runbook))}: {len(fleet.targets)} targets"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{digest}'">
<style>{style}</style></head>
<body><header class="top"><h1>{title}</h1>
<p class="soft">fleet {escape(fleet.id)}, started {escape(fleet.started)}, {escape(state)}</p>
<p class="chips">{_totals(fleet)}</p></header>
<main><h2>Targets, worst first</h2>
<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody></table></div></main>
<footer>Each record is sealed by itself; check one with: runbook records verify RUN</footer></body></html>
"""


def _totals(fleet: Fleet) -> str:
    counts = Counter(_word(one) for one in fleet.worst_first)
    return " ".join(_chip(word, f"{count} {words(word)}") for word, count in counts.items()) or "no result yet"


def _word(result: Result) -> str:
    """The verdict, or how the run ended where it came to none that counts."""
    return (result.status or "failed") if result.failed else result.verdict


def _chip(word: str, text: str) -> str:
    return f'<span class="chip {level(word)}">{sign(word)} {escape(text)}</span>'


def _row(result: Result, folder: Path) -> str:
    found = f"{result.cause}: {result.title}" if result.cause else result.title
    told = "; ".join(part for part in (found, result.reason) if part) or "nothing"
    link = "none"
    if result.record:
        address = Path(os.path.relpath(Path(result.record) / "report.html", folder)).as_posix()
        link = f'<a href="{escape(address, quote=True)}">{escape(result.run_id)}</a>'
    took = duration(result.seconds) if result.started else "-"
    return (
        f'<tr><th scope="row">{escape(result.target)}</th>'
        f'<td class="pair">{_chip(_word(result), words(_word(result)))}</td>'
        f'<td class="wide">{escape(told)}</td><td class="num">{result.gaps}</td>'
        f'<td class="num">{escape(took)}</td><td class="mono">{link}</td></tr>'
    )
