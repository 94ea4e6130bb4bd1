"""One line of the journal: its shape, its bytes and its hash."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook_lib.errors import RecordError
from runbook_lib.model.canonical import canonical, digest_bytes
from runbook_lib.model.times import parse_rfc3339

FORMAT = 1
#: ``prev`` of the first event.
NO_EVENT = "sha256:" + "0" * 64
#: Kind of event to what it says. The set is closed; docs/record-format.md gives the data of each.
KINDS: Mapping[str, str] = {
    "run.started": "the run began; binds what it was started from",
    "cell.started": "a cell of the notebook began",
    "cell.output": "a cell put something out",
    "cell.ended": "a cell ended, with how",
    "evidence": "a system answered a query",
    "gap": "a query could not be answered",
    "finding": "a claim that rests on evidence",
    "note": "a remark of a person or a program",
    "plan": "an action was made concrete",
    "approval.asked": "a plan waits for approval",
    "approval": "somebody allowed a plan",
    "action.intent": "one request is about to be sent",
    "action.outcome": "what became of it",
    "verification": "the same evidence was read again",
    "verdict": "the run's own conclusion, with its findings in order",
    "run.ended": "the run ended, with how",
    "recovered": "a dead run was put in order",
    "sealed": "the last event; nothing follows",
}
#: Kinds that are on the disk before the call returns: each makes a statement that a later act relies on.
DURABLE = frozenset({"run.started", "approval", "action.intent", "action.outcome", "run.ended", "recovered", "sealed"})
# The members behind ``data`` in canonical order. They hold no free text, so their place in the line is certain
# whatever ``data`` contains.
TAIL = re.compile(
    rb',"hash":"(?P<hash>sha256:[0-9a-f]{64})"(?P<tail>,"kind":"(?P<kind>[a-z.]{1,40})","mono_ns":(?P<mono>\d{1,16}),'
    rb'"prev":"(?P<prev>sha256:[0-9a-f]{64})","run_id":"(?P<run>[A-Za-z0-9._-]{1,100})","seq":(?P<seq>\d{1,15}),'
    rb'"ts":"(?P<ts>[0-9TZ:.-]{20,30})","v":(?P<v>\d{1,3})\})\Z'
)
LONGEST_TAIL = 560


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run.

    Args:
        seq: its number in the run, from 0.
        ts: when, RFC 3339 in UTC.
        mono_ns: nanoseconds since the run began, on a clock that nobody sets; orders events when ``ts`` jumps.
        run_id: the run.
        actor: who wrote it: ``kernel``, ``runner``, ``recover``, or a person's name.
        kind: a key of ``KINDS``.
        cell: id of the notebook's cell; empty outside of one.
        data: what happened, a JSON object.
        prev: ``hash`` of the event before.
        hash: ``sha256:`` of the canonical form of all the rest.
    """

    seq: int
    ts: str
    mono_ns: int
    run_id: str
    actor: str
    kind: str
    cell: str
    data: Mapping[str, Any]
    prev: str
    hash: str

    @property
    def moment(self) -> datetime:
        """``ts`` as an aware time."""
        return parse_rfc3339(self.ts)

    def to_json(self) -> dict[str, Any]:
        """All members, as the line holds them."""
        return {
            "v": FORMAT,
            "seq": self.seq,
            "ts": self.ts,
            "mono_ns": self.mono_ns,
            "run_id": self.run_id,
            "actor": self.actor,
            "kind": self.kind,
            "cell": self.cell,
            "data": dict(self.data),
            "prev": self.prev,
            "hash": self.hash,
        }


@dataclass(frozen=True, slots=True)
class Line:
    """The members of a line that the chain needs, read without parsing ``data``."""

    seq: int
    kind: str
    run_id: str
    mono_ns: int
    prev: str
    hash: str
    true_hash: str


def line_of(
    data: bytes,
    *,
    seq: int,
    ts: str,
    mono_ns: int,
    run_id: str,
    actor: str,
    kind: str,
    cell: str,
    prev: str,
) -> tuple[bytes, str]:
    """The line of an event without its newline, and its hash.

    The line is the RFC 8785 form of the event. It is put together here from its parts because ``data`` may be large
    and is wanted twice: with ``hash`` and without it.

    Args:
        data: the canonical form of the event's data.
    """
    head = b'{"actor":%b,"cell":%b,"data":%b' % (canonical(actor), canonical(cell), data)
    tail = b',"kind":"%b","mono_ns":%d,"prev":"%b","run_id":"%b","seq":%d,"ts":"%b","v":%d}' % (
        kind.encode(),
        mono_ns,
        prev.encode(),
        run_id.encode(),
        seq,
        ts.encode(),
        FORMAT,
    )
    own = digest_bytes(head + tail)
    return b'%b,"hash":"%b"%b' % (head, own.encode(), tail), own


def chain_members(line: bytes) -> Line:
    """Read what links a line to its neighbours, and hash it.

    Raises:
        RecordError: the line is not an event in the form the journal writes.
    """
    match = TAIL.search(line, max(0, len(line) - LONGEST_TAIL))
    if match is None or int(match["v"]) != FORMAT:
        raise RecordError("the line is not an event of this format")
    return Line(
        seq=int(match["seq"]),
        kind=match["kind"].decode(),
        run_id=match["run"].decode(),
        mono_ns=int(match["mono"]),
        prev=match["prev"].decode(),
        hash=match["hash"].decode(),
        true_hash=digest_bytes(line[: match.start()] + match["tail"]),
    )


def parse(line: bytes) -> Event:
    """The event that a line holds.

    Raises:
        RecordError: the line is no event.
    """
    try:
        value = json.loads(line)
        value.pop("v")
        return Event(**value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordError(f"the line is not an event: {error}") from error
