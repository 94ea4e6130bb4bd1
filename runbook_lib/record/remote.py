"""An archive in a bucket: runs are written on this machine, sealed records and the chain live in the bucket.

A bucket cannot append and has no locks. So a run writes its record in a local working folder, which also survives a
crash; sealing puts the files into the bucket and then adds the line to ``chain.jsonl`` there, on the condition that
nobody else changed it since it was read. Reading copies what is missing into the working folder.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from runbook_lib import catalog
from runbook_lib.clients.objects import Bucket, ObjectStore
from runbook_lib.errors import CatalogError, RecordError, SourceEmptyError, SourceError
from runbook_lib.model.canonical import canonical, digest_bytes
from runbook_lib.record._disk import DISK, Disk
from runbook_lib.record.chain import CHAIN, REMOTE, Chain, Link, link_after, links_of, locked
from runbook_lib.record.folder import HOLD_SUFFIX, JOURNAL
from runbook_lib.secrets import SecretRef

#: Beside a sealed record that is not in the bucket yet; ``runbook records recover`` sends it.
PENDING_SUFFIX = ".pending"
_MANIFEST, _SEAL = "manifest.json", "seal.json"
# Another run sealed in between: its line is short and its turn over at once, so many in a row are a fault.
_TRIES = 50
_LATER = "%s; the record is sealed on this machine, send it with: runbook records recover"
_LOG = logging.getLogger(__name__)


class Remote:
    """The bucket behind a working folder.

    Args:
        root: the working folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._store = ObjectStore(_bucket(_address(root)))

    def chain(self) -> tuple[bytes, str]:
        """The lines of the bucket's chain and their version; nothing before the first.

        Raises:
            SourceError: it cannot be read.
        """
        try:
            return self._store.read(CHAIN)
        except SourceEmptyError:
            return b"", ""

    def add(self, content: bytes, version: str) -> bool:
        """Replace the chain if it is still as it was read; whether it was."""
        return self._store.write_if(CHAIN, content, version)

    def send(self, folder: Path, place: str) -> None:
        """Put every file of a sealed record into the bucket, its seal last.

        Raises:
            SourceError: one cannot be written.
        """
        files = sorted((one for one in folder.rglob("*") if one.is_file()), key=lambda one: one.name == _SEAL)
        for path in files:
            name = path.relative_to(folder).as_posix()
            if not name.startswith("."):
                self._store.write(f"{place}/{name}", path.read_bytes())

    def fetch(self) -> None:
        """Copy the chain, the holds and every journal that is missing here; what was removed there goes here, too.

        Raises:
            SourceError: the bucket cannot be read.
        """
        content, _ = self.chain()
        DISK.replace(self.root / CHAIN, content, durable=False)
        names = self._store.names()
        for name in names:
            parts = name.split("/")
            if len(parts) == 5 and parts[-1] == JOURNAL:
                self._copy(name)
        self._holds({name for name in names if name.endswith(HOLD_SUFFIX)})
        for link in links_of(content, self._store.url):
            if link.kind == "removed":
                shutil.rmtree(self.root / link.path, ignore_errors=True)

    def whole(self, folder: Path) -> None:
        """Copy every file of one record that is missing here.

        Raises:
            SourceError: one cannot be read.
        """
        if not (folder / _MANIFEST).is_file():
            place = folder.relative_to(self.root).as_posix()
            for name in sorted(self._store.names(place), key=lambda one: one.endswith(_MANIFEST)):
                self._copy(name)

    def copy_to(self, target: Path, place: str = "") -> None:
        """Copy the archive, or one record, as it is in the bucket now into an empty folder.

        Raises:
            SourceError: something cannot be read.
        """
        for name in self._store.names(place):
            _put(target, name, self._store.read(name)[0])

    def hold(self, place: str, note: bytes | None) -> None:
        """Write the note of a hold, or end it.

        Raises:
            SourceError: the bucket cannot be written.
        """
        name = f"{place}{HOLD_SUFFIX}"
        if note is None:
            self._store.remove([name])
        else:
            self._store.write(name, note)

    def remove(self, place: str) -> None:
        """Remove one record's objects.

        Raises:
            SourceError: the bucket cannot be written.
        """
        self._store.remove(self._store.names(place))

    def _copy(self, name: str) -> None:
        if not (self.root / name).exists():
            _put(self.root, name, self._store.read(name)[0])

    def _holds(self, there: set[str]) -> None:
        for path in self.root.glob(f"[0-9]*/[0-9]*/[0-9]*/*{HOLD_SUFFIX}"):
            if path.relative_to(self.root).as_posix() not in there:
                path.unlink(missing_ok=True)
        for name in there:
            self._copy(name)


class RemoteChain(Chain):
    """The bucket's chain, while this machine's other writers wait.

    The line goes in only if nobody else's came in between; otherwise it is made anew behind theirs. A record whose
    line cannot be written now is marked and sent later: its seal is good without.
    """

    def __init__(self, path: Path, descriptor: int, links: list[Link], disk: Disk) -> None:
        super().__init__(path, descriptor, links, disk)
        self._remote = Remote(path.parent)
        self._content, self._version, self._reached = b"", "", False
        try:
            self._read()
        except SourceError as error:
            # The lines as last seen: the head that a record names needs only be one of them.
            _LOG.warning("%s; going on with the chain as it was last seen", error)

    def publish(self, folder: Path, place: str) -> None:
        """Put a sealed record into the bucket; see ``Chain.publish``."""
        mark = self._path.parent / f"{place}{PENDING_SUFFIX}"
        self._disk.replace(mark, b"")
        try:
            self._remote.send(folder, place)
        except SourceError as error:
            self._reached = False
            _LOG.warning(_LATER, error)

    def append(self, kind: str, *, run_id: str, path: str, seal: str = "", reason: str = "") -> Link:
        """Add a line to the bucket's chain; see ``Chain.append``.

        Raises:
            RecordError: the bucket cannot be written, for a line that no record waits for.
        """
        mark = self._path.parent / f"{path}{PENDING_SUFFIX}"
        facts = {"kind": kind, "run_id": run_id, "path": path, "seal": seal, "reason": reason}
        try:
            link = self._added(facts)
        except (SourceError, RecordError) as error:
            if kind != "sealed":
                raise RecordError(str(error)) from error
            _LOG.warning(_LATER, error)
            return link_after(self.links, **facts)
        self._disk.remove(mark)
        return link

    def _added(self, facts: dict[str, str]) -> Link:
        if not self._reached:
            raise RecordError(f"{self._path.parent}: the bucket cannot be reached")
        for _ in range(_TRIES):
            # An earlier attempt may have arrived although its answer did not.
            mine = next((one for one in self.links if facts.items() <= asdict(one).items()), None)
            if mine is not None:
                return mine
            link = link_after(self.links, **facts)
            content = self._content + canonical(asdict(link)) + b"\n"
            if self._remote.add(content, self._version):
                self._read()
                continue
            self._read()
        raise RecordError(f"{self._path}: others change it all the time; the line could not be added")

    def _read(self) -> None:
        self._content, self._version = self._remote.chain()
        self.links[:] = links_of(self._content, str(self._path))
        self._disk.replace(self._path, self._content, durable=False)
        self._reached = True


def send_pending(root: Path) -> tuple[Path, ...]:
    """Send every sealed record of a working folder that the bucket has not got; returns those that it got now.

    Raises:
        RecordError: the bucket cannot be written.
    """
    if not (root / REMOTE).is_file():
        return ()
    sent = []
    for mark in sorted(root.glob(f"[0-9]*/[0-9]*/[0-9]*/*{PENDING_SUFFIX}")):
        folder = mark.with_name(mark.name.removesuffix(PENDING_SUFFIX))
        if not folder.is_dir():
            continue  # not yet sealed: its recovery sends it
        place = folder.relative_to(root).as_posix()
        with locked(root) as chain:
            chain.publish(folder, place)
            seal = digest_bytes((folder / _SEAL).read_bytes())
            chain.append("sealed", run_id=folder.name, path=place, seal=seal)
        if not mark.exists():
            sent.append(folder)
    return tuple(sent)


def _address(root: Path) -> str:
    try:
        return str(json.loads((root / REMOTE).read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{root / REMOTE}: does not name a bucket") from error


def _bucket(url: str) -> Bucket:
    """The bucket with the credentials of the nearest catalogue; without those, AWS's own variables count."""
    known = _records()
    if ("access_key" in known) != ("secret_key" in known):
        raise CatalogError("access_key and secret_key belong together", key="records")
    secrets = {name: SecretRef.parse(known[name]).resolve() for name in ("access_key", "secret_key") if name in known}
    return Bucket(url, endpoint=known.get("endpoint", ""), region=known.get("region", ""), **secrets)


def _records() -> Mapping[str, str]:
    try:
        return catalog.load().records
    except CatalogError:
        return {}


def _put(target: Path, name: str, content: bytes) -> None:
    path = target / name
    if not path.resolve().is_relative_to(target.resolve()):
        raise RecordError(f"{name!r} is no name for a file of an archive")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    DISK.replace(path, content, durable=False)
