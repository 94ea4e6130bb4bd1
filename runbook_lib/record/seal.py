"""Sealing: every file bound by a manifest, the manifest by a statement, the statement by the archive's chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import RecordError
from runbook_lib.model.canonical import canonical, digest_bytes
from runbook_lib.record import evidence_file
from runbook_lib.record.chain import locked
from runbook_lib.record.event import FORMAT, Event, parse
from runbook_lib.record.folder import JOURNAL, LOCK, PARTIAL
from runbook_lib.record.journal import RESERVE
from runbook_lib.record.status import EXIT_CODES, Status

if TYPE_CHECKING:
    from runbook_lib.record.folder import RecordFolder, Signer

MANIFEST = "manifest.json"
SEAL = "seal.json"
SIGNATURE = "seal.json.sig"
#: What the seal itself consists of; the manifest lists everything else.
SEAL_FILES = frozenset({MANIFEST, SEAL, SIGNATURE})
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:runbook-lib:record:v1"


def seal_folder(
    folder: RecordFolder,
    status: str,
    verdict: str,
    *,
    reason: str,
    exit_code: int | None,
    actor: str,
    sign: Signer | None,
) -> Path:
    """What ``RecordFolder.seal`` does; see there."""
    if status not in set(Status) - {Status.RUNNING}:
        raise RecordError(f"a record is not sealed as {status!r}; allowed: {', '.join(EXIT_CODES)}")
    code = EXIT_CODES[Status(status)] if exit_code is None else exit_code
    ended = {"status": status, "verdict": verdict, "reason": reason, "exit_code": code}
    folder.journal.append("run.ended", ended, actor=actor)
    return finish(folder, ended, actor=actor, sign=sign)


def finish(folder: RecordFolder, ended: dict[str, Any], *, actor: str, sign: Signer | None) -> Path:
    """Seal a folder whose journal says already how the run ended; goes on where a crash cut an earlier seal off.

    Args:
        folder: the record.
        ended: data of its ``run.ended``.
        actor: who seals.
        sign: signs the bytes of ``seal.json``.

    Raises:
        RecordError: a known secret stands in a file, or something cannot be written.
    """
    sealed = _sealed_event(folder)
    if sealed is None:
        _write_views(folder)
    _clear(folder)
    sweep(folder)
    _sync(folder)
    archive = folder.path.parents[3]
    final = folder.path.with_name(folder.path.name.removesuffix(PARTIAL))
    try:
        with locked(archive, disk=folder.disk) as chain:
            if sealed is None:
                facts = {"status": ended["status"], "verdict": ended["verdict"], "archive": chain.head}
                sealed = folder.journal.append("sealed", facts, actor=actor)
            seal = digest_bytes(_bind(folder, sealed, sign))
            if seal not in {link.seal for link in chain.links}:
                place = final.relative_to(archive).as_posix()
                chain.publish(folder.path, place)
                chain.append("sealed", run_id=folder.run_id, path=place, seal=seal)
            folder.disk.rename(folder.path, final)
            folder.disk.sync_folder(final.parent)
    except OSError as error:
        raise RecordError(f"{folder.path}: cannot be sealed: {error.strerror}") from error
    # Only now: as long as the folder is partial, its lock keeps a recovery away.
    folder.disk.remove(final / LOCK)
    folder.release()
    return final


def _bind(folder: RecordFolder, sealed: Event, sign: Signer | None) -> bytes:
    listed = []
    for path in record_files(folder.path):
        content = path.read_bytes()
        name = path.relative_to(folder.path).as_posix()
        listed.append({"name": name, "bytes": len(content), "sha256": digest_bytes(content)})
    manifest = {
        "format": FORMAT,
        "run_id": folder.run_id,
        "status": sealed.data["status"],
        "verdict": sealed.data["verdict"],
        "sealed_at": sealed.ts,
        "signed": sign is not None,
        "journal": {"events": sealed.seq + 1, "head": sealed.hash},
        "files": listed,
    }
    content = canonical(manifest)
    seal = canonical(statement(content, manifest))
    folder.disk.replace(folder.path / MANIFEST, content)
    folder.disk.replace(folder.path / SEAL, seal)
    if sign is not None:
        folder.disk.replace(folder.path / SIGNATURE, sign(seal))
    return seal


def statement(content: bytes, manifest: dict[str, Any]) -> dict[str, Any]:
    """The in-toto Statement v1 over a manifest.

    Args:
        content: the manifest's bytes.
        manifest: the same, parsed.
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": MANIFEST, "digest": {"sha256": digest_bytes(content).removeprefix("sha256:")}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {key: manifest[key] for key in ("run_id", "status", "verdict", "sealed_at", "journal")},
    }


def record_files(path: Path) -> list[Path]:
    """Every file that a manifest lists, in order of name."""
    files = (one for one in path.rglob("*") if one.is_file() and one.relative_to(path).as_posix() not in SEAL_FILES)
    return sorted(one for one in files if one.name not in {LOCK, RESERVE})


def sweep(folder: RecordFolder) -> None:
    """Look for known secrets in everything that was written.

    Raises:
        RecordError: one stands in a file; the record is not sealed.
    """
    hits = [path for path in record_files(folder.path) if folder.holds_secret(_content(path))]
    if hits:
        names = ", ".join(str(path.relative_to(folder.path)) for path in hits)
        raise RecordError(f"{folder.path}: a known secret stands in {names}; the record is not sealed")


def _content(path: Path) -> bytes:
    try:
        return evidence_file.read(path)
    except ValueError:
        # Broken: it is looked at as it is.
        return path.read_bytes()


def _sync(folder: RecordFolder) -> None:
    # Before the event sealed, because nothing can be noted after it: what it vouches for must be on the disk by then.
    for path in record_files(folder.path):
        folder.disk.sync_file(path)
    folder.disk.sync_folder(folder.path / "evidence")
    folder.disk.sync_folder(folder.path)


def _sealed_event(folder: RecordFolder) -> Event | None:
    last = (folder.path / JOURNAL).read_bytes().splitlines()[-1]
    event = parse(last)
    return event if event.kind == "sealed" else None


def _clear(folder: RecordFolder) -> None:
    for left in (folder.path / RESERVE, *folder.path.rglob(".*.tmp")):
        folder.disk.remove(left)


def _write_views(folder: RecordFolder) -> None:
    from jinja2 import TemplateError

    from runbook_lib.record.record import Record
    from runbook_lib.record.views import VIEWS

    record = Record.read(folder.path)
    for picture in record.pictures:
        if picture.png:
            folder.write(picture.file, picture.png)
    for name, view in VIEWS.items():
        try:
            text = view(record)
        except (LookupError, TypeError, ValueError, AttributeError, TemplateError) as error:
            # The journal is the record; a view that cannot be made of it must not keep it from being sealed.
            folder.journal.append("note", {"text": f"{name} could not be made: {error}"}, actor="runner")
            continue
        folder.write(name, text.encode())


__all__ = ["JOURNAL", "MANIFEST", "SEAL", "SIGNATURE", "finish", "record_files", "seal_folder", "statement", "sweep"]
