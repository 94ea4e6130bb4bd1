"""Anchors: the head of an archive's chain, put where the disk's owner cannot change it, and compared later.

What the catalogue's ``[records.anchors]`` names gets the head after each seal. A place that cannot be reached costs no
record and no run: the next seal's head covers this one, too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook_lib.catalog import Catalog
from runbook_lib.errors import CatalogError, RecordError, RunbookError, SourceError
from runbook_lib.model.canonical import canonical, digest_bytes
from runbook_lib.model.times import rfc3339, utc_now
from runbook_lib.record._disk import DISK
from runbook_lib.record.chain import CHAIN, REMOTE, Link, links_of
from runbook_lib.record.record import Record
from runbook_lib.record.seal import SEAL
from runbook_lib.record.verify import Problem, chain_problems

#: Folder of the archive: what was anchored where, and the authorities' answers.
FOLDER = "anchors"
#: In it, one line for each attempt: ``{at, error, hash, kind, number, where}``.
LOG = "anchors.jsonl"
BRANCH = "runbook-anchors"
_LOG = logging.getLogger(__name__)


def anchor(record: Path, known: Catalog | None) -> Path:
    """Put the head of a sealed record's archive wherever the catalogue says.

    Args:
        record: the folder that was just sealed.
        known: the catalogue; None anchors nothing.

    Returns:
        The same folder; what became of it is in the log of anchors.
    """
    archive = record.parents[3]
    try:
        content = _chain(archive) if known is not None and known.anchors else b""
        links = links_of(content, str(archive / CHAIN))
    except (RecordError, SourceError) as error:
        _LOG.warning("%s; nothing was anchored", error)
        return record
    if known is None or not links:
        return record
    head = _Head(known, archive, record, content, links[-1])
    for kind, put in (("git", _git), ("rfc3161", _rfc3161), ("slack", _slack)):
        if kind in known.anchors:
            entry = head.entry(kind)
            try:
                put(head)
            except (RunbookError, OSError) as error:
                entry["error"] = str(error)
                _LOG.warning("the chain's head could not be anchored: %s", error)
            _note(archive, entry)
    return record


def check(archive: Path, chain: Path, known: Catalog | None) -> tuple[list[Problem], list[str]]:
    """Hold an archive's chain against its anchors, as far as that goes without asking anybody.

    Args:
        archive: where the log of anchors is.
        chain: the folder with the chain that is to be checked; another one where that was copied anew from a bucket.
        known: the catalogue; it names the repository and the trusted authorities.

    Returns:
        What does not fit, and what each anchor proves, in words.
    """
    return _check(archive, (chain / CHAIN).read_bytes() if (chain / CHAIN).is_file() else b"", known, None)


def _check(archive: Path, content: bytes, known: Catalog | None, line: int | None) -> tuple[list[Problem], list[str]]:
    """See ``check``; with a ``line`` only what says something about this line of the chain."""
    problems, proven = list[Problem](), list[str]()
    links = tuple(links_of(content, str(archive / CHAIN)))
    hashes = {link.number: link.hash for link in links}
    for entry in _entries(archive):
        # An anchor holds every line up to its own, and says nothing about later ones.
        if not entry["error"] and entry["number"] >= (line or 0) and hashes.get(entry["number"]) != entry["hash"]:
            problems.append(
                Problem(CHAIN, entry["number"], f"is not what was anchored on {entry['at']} in {entry['where']}")
            )
    if known is not None and "git" in known.anchors:
        problems += _against_git(known, content, proven, line)
    if known is not None and "rfc3161_ca" in known.anchors:
        problems += _against_stamps(known, archive, links[line or 0 :], proven)
    return problems, proven


def check_record(record: Path, archive: Path, known: Catalog | None) -> tuple[list[Problem], list[str]]:
    """Hold one sealed record against its archive: its line of the chain, and the anchors that cover this line.

    Args:
        record: the record's folder.
        archive: the archive; the chain of one in a bucket is read from there.
        known: the catalogue.

    Returns:
        What does not fit, and what holds the record in its place, in words.

    Raises:
        SourceError: the bucket cannot be read.
    """
    content = _chain(archive)
    links = tuple(links_of(content, str(archive / CHAIN)))
    own = max((n for n, one in enumerate(links) if (one.run_id, one.kind) == (record.name, "sealed")), default=None)
    if own is None:
        return [Problem(CHAIN, None, f"has no line of {record.name}")], []
    found, proven = _check(archive, content, known, own)
    problems = list[Problem]()
    if (record / SEAL).is_file() and digest_bytes((record / SEAL).read_bytes()) != links[own].seal:
        problems.append(Problem(SEAL, None, f"is not the seal that line {own} of the archive's chain names"))
    hashes = {link.number: link.hash for link in links}
    fitting = [one for one in _entries(archive) if not one["error"] and hashes.get(one["number"]) == one["hash"]]
    cover = min((one for one in fitting if one["number"] >= own), key=lambda one: one["number"], default=None)
    # The first anchor that fits holds the lines up to its own; a later one that does not tells of later lines.
    last = cover["number"] if cover else len(links)
    problems += [one for one in found if (one.event or 0) <= last]
    problems += [one for one in chain_problems(links) if own <= (one.event or 0) <= last]
    told = f"anchored with line {last} in {cover['where']} on {cover['at']}" if cover else "no anchor covers it"
    return problems, [f"line {own} of the archive's chain; {told}", *proven]


@dataclass(frozen=True, slots=True)
class _Head:
    """What is anchored.

    Args:
        known: the catalogue.
        archive: the archive.
        record: the record that was sealed last.
        content: the whole chain.
        link: its last line.
    """

    known: Catalog
    archive: Path
    record: Path
    content: bytes
    link: Link

    def entry(self, kind: str) -> dict[str, Any]:
        """The line of the log for one place, before it is known whether it worked."""
        where, number, value = self.known.anchors[kind], self.link.number, self.link.hash
        return {"at": rfc3339(utc_now()), "error": "", "hash": value, "kind": kind, "number": number, "where": where}


def _git(head: _Head) -> None:
    from runbook_lib.clients.git import Branch

    link = head.link
    text = f"Anchor {head.archive.name} at line {link.number}: {link.hash}\n\nSealed: {link.run_id}\n"
    branch = Branch(_path(head.known, "git"), BRANCH)
    branch.fetch()
    anchored = branch.read(CHAIN)
    if not head.content.startswith(anchored):
        raise RecordError(
            f"{branch.repository}: the anchored chain ({len(anchored)} bytes) is no beginning of this one"
        )
    branch.write(CHAIN, head.content.decode(), text)


def _chain(archive: Path) -> bytes:
    """The chain as it is now; a bucket's may have grown since this machine saw it."""
    if (archive / REMOTE).is_file():
        from runbook_lib.record.remote import Remote

        return Remote(archive).chain()[0]
    return (archive / CHAIN).read_bytes() if (archive / CHAIN).is_file() else b""


def _rfc3161(head: _Head) -> None:
    from runbook_lib.clients.timestamp import stamp

    token = stamp(head.known.anchors["rfc3161"], head.link.hash.encode())
    DISK.replace(_folder(head.archive) / _token(head.link), token)


def _slack(head: _Head) -> None:
    from runbook_lib.clients._tape import LiveTape
    from runbook_lib.clients.slack import SlackClient
    from runbook_lib.model import Window

    link, known = head.link, head.known
    environment = known.environment(known.anchors["slack"])
    if "slack" not in environment.endpoints:
        raise CatalogError(f"environment {environment.name} has no slack", file=str(known.path), key="records.anchors")
    client = SlackClient(
        endpoint=environment.endpoints["slack"],
        tape=LiveTape(lambda _: None),
        window=Window.last(1),
        workload={},
        environment=environment.name,
    )
    text = f"Record {link.run_id} is sealed. Line {link.number} of the archive's chain: {link.hash}"
    if "token" in environment.endpoints["slack"].secrets:
        channel, thread = _thread(head.record)
        client.post(text, key=f"anchor/{link.hash}", channel=channel, thread=thread)
    else:
        client.post_to_webhook(text)


def _thread(record: Path) -> tuple[str, str]:
    """Channel and thread of the incident's message, when the run posted one; empty otherwise."""
    for outcome in reversed(Record.read(record).outcomes):
        found = outcome.get("read_back") or {}
        if outcome.get("outcome") == "applied" and found.get("ts") and found.get("channel"):
            return str(found["channel"]), str(found["ts"])
    return "", ""


def _against_git(known: Catalog, content: bytes, proven: list[str], line: int | None) -> Iterator[Problem]:
    from runbook_lib.clients.git import Branch

    repository = _path(known, "git")
    anchored = Branch(repository, BRANCH).read(CHAIN)
    lines = len(anchored.splitlines())
    if content.startswith(anchored):
        proven.append(f"{lines} lines of the chain are as anchored in {repository}")
        return
    pairs = zip(anchored.splitlines(), [*content.splitlines(), *[b""] * lines], strict=False)
    first = next((number for number, (old, new) in enumerate(pairs) if old != new), lines)
    if line is not None and line < first:
        proven.append(f"{first} lines of the chain are as anchored in {repository}")
        return
    yield Problem(CHAIN, first, f"is not as anchored in {repository}: it was changed or removed since")


def _against_stamps(known: Catalog, archive: Path, links: tuple[Link, ...], proven: list[str]) -> Iterator[Problem]:
    from runbook_lib.clients.timestamp import check as stamped

    newest: tuple[int, datetime] | None = None
    by_token = {_token(link): link for link in links}
    for path in sorted((archive / FOLDER).glob("*.tsr")):
        link = by_token.get(path.name)
        if link is None:
            if links and int(path.name.partition("-")[0]) < links[0].number:
                continue
            yield Problem(f"{FOLDER}/{path.name}", None, "is a time stamp of a line that is not in the chain")
            continue
        try:
            newest = link.number, stamped(path.read_bytes(), link.hash.encode(), _path(known, "rfc3161_ca"))
        except RecordError as error:
            yield Problem(f"{FOLDER}/{path.name}", None, str(error))
    if newest is not None:
        proven.append(f"the chain up to line {newest[0]} existed on {rfc3339(newest[1])}, says a time stamp")


def _entries(archive: Path) -> tuple[Mapping[str, Any], ...]:
    try:
        lines = (archive / FOLDER / LOG).read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    try:
        return tuple(json.loads(line) for line in lines)
    except ValueError as error:
        raise RecordError(f"{archive / FOLDER / LOG}: not the log of anchors: {error}") from error


def _note(archive: Path, entry: Mapping[str, Any]) -> None:
    try:
        with (_folder(archive) / LOG).open("ab") as file:
            file.write(canonical(entry) + b"\n")
    except OSError as error:
        _LOG.warning("%s: cannot be written: %s", archive / FOLDER / LOG, error.strerror)


def _folder(archive: Path) -> Path:
    folder = archive / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _token(link: Link) -> str:
    return f"{link.number:08d}-{link.hash.removeprefix('sha256:')[:16]}.tsr"


def _path(known: Catalog, key: str) -> Path:
    return known.path.parent / Path(known.anchors[key]).expanduser()
