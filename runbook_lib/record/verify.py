"""Verify a record offline: derive every digest again and compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import RecordError
from runbook_lib.model.canonical import canonical, digest, digest_bytes
from runbook_lib.record.chain import CHAIN, Link, read_chain
from runbook_lib.record.event import LONGEST_TAIL, NO_EVENT, TAIL, Event, parse
from runbook_lib.record.folder import JOURNAL, LOCK, PARTIAL
from runbook_lib.record.seal import MANIFEST, SEAL, SEAL_FILES, SIGNATURE, statement

#: Kinds whose data the checks read.
_PARSED = frozenset({b"run.started", b"evidence", b"recovered", b"run.ended", b"sealed"})
_MANIFEST_SHAPE: Mapping[str, type] = {
    "run_id": str,
    "status": str,
    "verdict": str,
    "sealed_at": str,
    "journal": dict,
    "files": list,
}
#: Checks a signature over the bytes of ``seal.json``: ``(content, signature) -> who signed``; raises RecordError.
SignatureCheck = Callable[[bytes, bytes], str]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was sealed.

    Args:
        file: name of the file in the record, or of the record in the archive.
        event: number of the event at fault, or of the line of an archive's chain; None for the whole file.
        reason: one sentence.
    """

    file: str
    event: int | None
    reason: str

    def __str__(self) -> str:
        word = "line" if self.file == CHAIN else "event"
        place = self.file if self.event is None else f"{self.file}, {word} {self.event}"
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Checked:
    """What verifying a record gave.

    Args:
        run_id: the run.
        status: as sealed; ``running`` when there is no seal.
        verdict: as sealed.
        events: number of events in the journal.
        signer: who signed the seal; empty when it is not signed or was not checked.
        problems: everything that is wrong; empty for a good record.
    """

    run_id: str
    status: str
    verdict: str
    events: int
    signer: str
    problems: tuple[Problem, ...]

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as ``runbook records verify --json`` prints."""
        return {
            "run_id": self.run_id,
            "good": self.good,
            "status": self.status,
            "verdict": self.verdict,
            "events": self.events,
            "signer": self.signer,
            "problems": [{"file": one.file, "event": one.event, "reason": one.reason} for one in self.problems],
        }


def verify(path: str | Path, *, check_signature: SignatureCheck | None = None) -> Checked:
    """Check a record against its own seal.

    Args:
        path: folder of the record.
        check_signature: checks the signature with the public keys that are trusted. A record that is not signed is
            then a problem; without it a signature is not looked at.

    Raises:
        RecordError: the folder cannot be read at all.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise RecordError(f"{folder}: no record there")
    problems: list[Problem] = []
    manifest = _manifest(folder, problems)
    events, number = _journal(folder, manifest, problems)
    if manifest is not None:
        problems += _seal(folder, manifest)
        problems += _files(folder, manifest)
        problems += _story(manifest, events, number)
    problems += _evidence(folder, events)
    signer = _signature(folder, check_signature, problems) if check_signature else ""
    known = manifest or {}
    run_id = str(known.get("run_id") or (events[0].run_id if events else folder.name.removesuffix(PARTIAL)))
    return Checked(
        run_id=run_id,
        status=str(known.get("status", "running")),
        verdict=str(known.get("verdict", "unknown")),
        events=number,
        signer=signer,
        problems=tuple(problems),
    )


def verify_archive(archive: str | Path, *, check_signature: SignatureCheck | None = None) -> tuple[Checked, ...]:
    """Check every record of an archive, and the archive's chain against them.

    Raises:
        RecordError: the archive cannot be read at all.
    """
    root = Path(archive)
    if not root.is_dir():
        raise RecordError(f"{root}: no archive there")
    found = [verify(path, check_signature=check_signature) for path in record_folders(root)]
    places = {str(path.relative_to(root)): path for path in record_folders(root)}
    problems = tuple(_archive_problems(root, places))
    return (*found, Checked("archive", "", "", 0, "", problems)) if problems else tuple(found)


def record_folders(archive: Path) -> tuple[Path, ...]:
    """Folders of all records, sealed or not, oldest day first."""
    return tuple(sorted(one for one in archive.glob("[0-9]*/[0-9]*/[0-9]*/*") if one.is_dir()))


def _manifest(folder: Path, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        problems.append(Problem(MANIFEST, None, "missing: the record was never sealed, so the run was not successful"))
        return None
    try:
        manifest: dict[str, Any] = json.loads(content)
        good = all(type(manifest[key]) is kind for key, kind in _MANIFEST_SHAPE.items())
        good = good and all(set(one) == {"name", "bytes", "sha256"} for one in manifest["files"])
        good = good and canonical(manifest) == content
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        problems.append(Problem(MANIFEST, None, f"not a manifest: {type(error).__name__}"))
        return None
    if not good:
        problems.append(Problem(MANIFEST, None, "not a manifest in canonical form"))
        return None
    return manifest


def _seal(folder: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    try:
        content = (folder / SEAL).read_bytes()
    except FileNotFoundError:
        yield Problem(SEAL, None, "missing: the record was never sealed, so the run was not successful")
        return
    if content != canonical(statement((folder / MANIFEST).read_bytes(), manifest)):
        yield Problem(SEAL, None, f"does not match {MANIFEST}: one of them was changed after sealing")
    if manifest.get("signed") and not (folder / SIGNATURE).is_file():
        yield Problem(SIGNATURE, None, "missing: the record was sealed with a signature")
    if folder.name != manifest["run_id"]:
        yield Problem(MANIFEST, None, f"is of run {manifest['run_id']}, but the folder is named {folder.name}")


def _journal(folder: Path, manifest: dict[str, Any] | None, problems: list[Problem]) -> tuple[tuple[Event, ...], int]:
    try:
        content = (folder / JOURNAL).read_bytes()
    except FileNotFoundError:
        problems.append(Problem(JOURNAL, None, "missing"))
        return (), 0
    *lines, torn = content.split(b"\n")
    if torn:
        problems.append(Problem(JOURNAL, len(lines), "the last line is torn"))
    events, head = _walk(lines, problems)
    if manifest is not None and manifest["journal"] != {"events": len(lines), "head": head}:
        problems.append(Problem(JOURNAL, None, "does not end where the seal says: events were added or cut off"))
    return events, len(lines)


def _walk(lines: list[bytes], problems: list[Problem]) -> tuple[tuple[Event, ...], str]:
    """Check the chain; returns the events that the other checks need, and the last hash.

    ``data`` is hashed, not parsed, for every other kind: that is what makes 100,000 events a matter of a second.
    """
    head, run_id, events = NO_EVENT.encode(), b"", []
    sha256, search = hashlib.sha256, TAIL.search
    for number, line in enumerate(lines):
        match = search(line, max(0, len(line) - LONGEST_TAIL))
        if match is None:
            problems.append(Problem(JOURNAL, number, "not an event: the line was changed"))
            continue
        own, tail, kind, _, prev, run, seq, _, version = match.groups()
        run_id = run_id or run
        if b"sha256:%b" % sha256(line[: match.start()] + tail).hexdigest().encode() != own:
            problems.append(Problem(JOURNAL, number, "its content does not give its hash: it was changed"))
        elif int(seq) != number or prev != head or run != run_id or version != b"1":
            problems.append(Problem(JOURNAL, number, "does not follow the event before: some were removed or moved"))
        head = own
        if kind in _PARSED:
            try:
                events.append(parse(line))
            except RecordError:
                problems.append(Problem(JOURNAL, number, "not an event: the line was changed"))
    return tuple(events), head.decode()


def _files(folder: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    listed = {one["name"]: one for one in manifest["files"]}
    there = {one.relative_to(folder).as_posix() for one in folder.rglob("*") if not one.is_dir() or one.is_symlink()}
    for name in sorted(there - set(listed) - SEAL_FILES):
        # A crash right after the seal may leave the lock; it is empty and says nothing.
        if name != LOCK or (folder / LOCK).stat().st_size:
            yield Problem(name, None, "was added after sealing")
    for name, entry in listed.items():
        target = folder / name
        if name not in there or target.is_symlink():
            yield Problem(name, None, "missing")
            continue
        content = target.read_bytes()
        if (len(content), digest_bytes(content)) != (entry["bytes"], entry["sha256"]):
            yield Problem(name, None, "was changed after sealing")


def _story(manifest: dict[str, Any], events: tuple[Event, ...], number: int) -> Iterator[Problem]:
    if not events or (events[-1].kind, events[-1].seq) != ("sealed", number - 1):
        yield Problem(JOURNAL, None, "does not end with the event sealed")
        return
    ended = next((event for event in reversed(events) if event.kind == "run.ended"), None)
    told = {(one.data.get("status"), one.data.get("verdict")) for one in (events[-1], ended) if one is not None}
    if told != {(manifest["status"], manifest["verdict"])}:
        yield Problem(MANIFEST, None, "its status and verdict are not those of the journal")


def _evidence(folder: Path, events: tuple[Event, ...]) -> Iterator[Problem]:
    lost = {name for event in events if event.kind == "recovered" for name in event.data.get("lost_evidence", ())}
    for event in events:
        if event.kind != "evidence" or event.data.get("file") in lost:
            continue
        name, wanted = str(event.data.get("file", "")), event.data.get("sha256")
        target = folder / name
        if not name.startswith("evidence/") or ".." in name or not target.is_file():
            yield Problem(name, event.seq, "the evidence of this event is missing")
        elif digest_bytes(target.read_bytes()) != wanted:
            yield Problem(name, event.seq, "is not what this event says was read")


def _signature(folder: Path, check: SignatureCheck, problems: list[Problem]) -> str:
    try:
        return check((folder / SEAL).read_bytes(), (folder / SIGNATURE).read_bytes())
    except FileNotFoundError:
        problems.append(Problem(SIGNATURE, None, "missing: the record is not signed"))
    except RecordError as error:
        problems.append(Problem(SIGNATURE, None, str(error)))
    return ""


def _archive_problems(root: Path, places: dict[str, Path]) -> Iterator[Problem]:
    try:
        links = read_chain(root)
    except RecordError as error:
        yield Problem(CHAIN, None, str(error))
        return
    yield from chain_problems(links)
    yield from _missing(links, places)


def chain_problems(links: tuple[Link, ...]) -> Iterator[Problem]:
    """Lines of an archive's chain that do not give their own hash, or do not follow the line before."""
    head = NO_EVENT
    for number, link in enumerate(links):
        entry = {name: getattr(link, name) for name in Link.__slots__ if name != "hash"}
        if (link.number, link.prev, link.hash) != (number, head, digest(entry)):
            yield Problem(CHAIN, number, "does not follow the line before: lines were changed, removed or moved")
        head = link.hash


def _missing(links: tuple[Link, ...], places: dict[str, Path]) -> Iterator[Problem]:
    removed = {link.run_id for link in links if link.kind == "removed"}
    hashes = {NO_EVENT, *(link.hash for link in links)}
    sealed = {link.path: link for link in links if link.kind == "sealed"}
    for path, link in sealed.items():
        if path not in places:
            if link.run_id not in removed:
                yield Problem(path, None, "the record is gone, and no removal is written down")
            continue
        seal = places[path] / SEAL
        if not seal.is_file() or digest_bytes(seal.read_bytes()) != link.seal:
            yield Problem(f"{path}/{SEAL}", None, "is not the seal that the archive's chain names")
    for path, folder in places.items():
        if path.endswith(PARTIAL):
            continue
        if path not in sealed:
            yield Problem(path, None, "is not in the archive's chain")
        before = _named_before(folder)
        if before not in hashes:
            yield Problem(CHAIN, None, f"record {path} was sealed after a line that is gone")


def _named_before(folder: Path) -> str:
    try:
        last = parse((folder / JOURNAL).read_bytes().splitlines()[-1])
        return str(last.data["archive"]["hash"])
    except (OSError, IndexError, KeyError, TypeError, RecordError):
        return NO_EVENT  # the record's own check names what is wrong with its journal
