"""Every moment at which a machine can die while a record is written: the record that is left never flatters the run.

The real writers run once on a disk that writes down each operation. Then, for each prefix of that log, the folder is
put together as a crash could leave it: with everything that was not brought to the disk kept, dropped, kept in name
only, or torn at every 512 bytes of the last write. Recovery and verification run on each of these states.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.model import Evidence, Series
from runbook_lib.record._disk import Disk
from runbook_lib.record.event import Event
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.recover import recover
from runbook_lib.record.verify import record_folders, verify, verify_archive

SECTOR_BYTES = 512


@dataclass(frozen=True)
class Operation:
    """``what`` happened to node ``node``; ``name`` and ``other`` are entries of the folder ``node``."""

    what: str
    node: int
    name: str = ""
    other: Any = None


class RecordingDisk(Disk):
    """A real disk that also writes down what it did, by the identity of files and folders rather than their paths."""

    def __init__(self, root: Path) -> None:
        self.log: list[Operation] = []
        self._numbers = itertools.count(1)
        self._nodes: dict[Path, int] = {root: 0}
        for path in sorted(root.rglob("*")):
            self._new("folder" if path.is_dir() else "file", path)
            if path.is_file():
                self.log.append(Operation("write", self._nodes[path], other=path.read_bytes()))
            self.log.append(Operation("sync", self._nodes[path]))
            self.log.append(Operation("sync", self._node(path.parent)))

    def _node(self, path: Path) -> int:
        return self._nodes[path]

    def _new(self, what: str, path: Path) -> None:
        self._nodes[path] = next(self._numbers)
        self.log.append(Operation(what, self._node(path.parent), path.name, self._nodes[path]))

    def _of(self, descriptor: int) -> int:
        return self._node(Path(f"/proc/self/fd/{descriptor}").readlink())

    def make_folder(self, path: Path) -> None:
        super().make_folder(path)
        self._new("folder", path)

    def open(self, path: Path, *, create: bool) -> int:
        descriptor = super().open(path, create=create)
        if create:
            self._new("file", path)
        return descriptor

    def write(self, descriptor: int, content: bytes) -> None:
        self.log.append(Operation("write", self._of(descriptor), other=bytes(content)))
        super().write(descriptor, content)

    def sync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path in self._nodes:
            self.log.append(Operation("sync", self._nodes[path]))

    def truncate(self, descriptor: int, size: int) -> None:
        super().truncate(descriptor, size)
        self.log.append(Operation("truncate", self._of(descriptor), other=size))

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self.log.append(Operation("rename", self._node(old.parent), old.name, new.name))
        moved = {path: node for path, node in self._nodes.items() if path == old or old in path.parents}
        for path, node in moved.items():
            del self._nodes[path]
            self._nodes[new / path.relative_to(old)] = node

    def remove(self, path: Path) -> None:
        super().remove(path)
        if path in self._nodes:
            self.log.append(Operation("remove", self._node(path.parent), path.name))
            del self._nodes[path]

    def sync_folder(self, path: Path) -> None:
        self.log.append(Operation("sync", self._node(path)))


class QuickDisk(Disk):
    """A disk on which nothing waits, for the recovery of thousands of states."""

    def sync(self, descriptor: int) -> None:
        return

    def sync_folder(self, path: Path) -> None:
        return


@dataclass
class Story:
    """What really happened: the log, and for each durable event the length of the log when it was begun and done."""

    log: list[Operation]
    begun: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """One run with evidence, an action and a seal, written on the recording disk."""
    archive = tmp_path_factory.mktemp("origin") / "outputs"
    archive.mkdir()
    disk = RecordingDisk(archive)
    facts = genesis(runbook="high_latency", archive=archive, service="api", environment="lab")
    told = Story(disk.log)
    folder = RecordFolder.create(archive, new_run_id("high_latency"), genesis=facts, disk=disk)
    told.done["run.started"], told.hashes["run.started"] = len(disk.log), folder.journal.head[1]

    def write(kind: str, data: dict[str, Any]) -> Event:
        told.begun[kind] = len(disk.log)
        event = folder.journal.append(kind, data)
        told.done[kind], told.hashes[kind] = len(disk.log), event.hash
        return event

    now = datetime(2026, 11, 24, tzinfo=UTC)
    points = [(float(i), float(i)) for i in range(200)]
    folder.keep(Evidence("prometheus", "up", "Up", "", "up", {}, None, now, (Series.of(points),)))
    folder.journal.append("note", {"text": "x" * 1500})
    write("action.intent", {"plan": "sha256:" + "a" * 64, "key": "k"})
    write("action.outcome", {"plan": "sha256:" + "a" * 64, "outcome": "applied", "reason": "done"})
    folder.journal.append("verdict", {"verdict": "degraded", "findings": []})
    final = folder.seal("succeeded", "degraded")
    ended = next(event for event in Record.read(final).events if event.kind == "run.ended")
    told.hashes["run.ended"] = ended.hash
    at = next(i for i, one in enumerate(disk.log) if one.what == "write" and ended.hash.encode() in one.other)
    told.begun["run.ended"], told.done["run.ended"] = at, at + 2
    return told


def states(log: list[Operation], length: int) -> Iterator[tuple[str, dict[int, dict[str, int]], dict[int, bytes]]]:
    """Every state in which a crash after ``length`` operations can leave the disk."""
    done = log[:length]
    yield "kept", names(done, durable=False), contents(done, durable=False)
    yield "dropped", names(done, durable=True), contents(done, durable=True)
    yield "names-only", names(done, durable=False), contents(done, durable=True)
    if done and done[-1].what == "write":
        whole = contents(done[:-1], durable=False)
        for cut in range(SECTOR_BYTES, len(done[-1].other), SECTOR_BYTES):
            torn = {**whole, done[-1].node: whole.get(done[-1].node, b"") + done[-1].other[:cut]}
            yield f"torn-{cut}", names(done, durable=False), torn


def names(log: list[Operation], *, durable: bool) -> dict[int, dict[str, int]]:
    """Folder to its entries; with ``durable`` only what a sync of the folder followed."""
    last_sync = {one.node: at for at, one in enumerate(log) if one.what == "sync"}
    tree: dict[int, dict[str, int]] = {0: {}}
    for at, one in enumerate(log):
        if one.what not in {"folder", "file", "rename", "remove"} or (durable and at > last_sync.get(one.node, -1)):
            continue
        entries = tree.setdefault(one.node, {})
        if one.what in {"folder", "file"}:
            entries[one.name] = one.other
            if one.what == "folder":
                tree.setdefault(one.other, {})
        elif one.what == "rename" and one.name in entries:
            entries[one.other] = entries.pop(one.name)
        elif one.what == "remove":
            entries.pop(one.name, None)
    return tree


def contents(log: list[Operation], *, durable: bool) -> dict[int, bytes]:
    """File to its content; with ``durable`` only what a sync of the file followed."""
    last_sync = {one.node: at for at, one in enumerate(log) if one.what == "sync"}
    found: dict[int, bytes] = {}
    for at, one in enumerate(log):
        if durable and at > last_sync.get(one.node, -1):
            continue
        if one.what == "write":
            found[one.node] = found.get(one.node, b"") + one.other
        elif one.what == "truncate":
            found[one.node] = found.get(one.node, b"")[: one.other]
    return found


def materialise(place: Path, node: int, tree: dict[int, dict[str, int]], content: dict[int, bytes]) -> None:
    place.mkdir()
    for name, child in tree[node].items():
        if child in tree:
            materialise(place / name, child, tree, content)
        else:
            (place / name).write_bytes(content.get(child, b""))


def judge(archive: Path, told: Story, length: int) -> str:
    """Recover and verify what a crash left; returns what is wrong with it, empty when nothing is."""
    folders = record_folders(archive)
    if not folders:
        return "lost a run that had begun" if length >= told.done["run.started"] else ""
    (before,) = folders
    if before.name.endswith(".partial") and verify(before).good:
        return "an unsealed record verifies"
    found = recover(before, disk=QuickDisk())
    record = Record.read(found.path)
    hashes = {event.hash for event in record.events}
    for kind, at in told.done.items():
        if length >= at and told.hashes[kind] not in hashes:
            return f"lost the durable event {kind}"
    intent, outcome = (told.hashes[kind] in hashes for kind in ("action.intent", "action.outcome"))
    if intent and not outcome and (found.status, len(found.open_intents)) != ("unknown", 1):
        return f"an open action is sealed as {found.status}"
    if found.status == "succeeded" and length <= told.begun["run.ended"]:
        return "succeeded before its end"
    if found.status == "succeeded" and not (intent and outcome):
        return "succeeded without its action"
    if length >= told.done["run.ended"] and found.status != "succeeded":
        return f"an end that was written became {found.status}"
    bad = [str(problem) for one in verify_archive(archive) for problem in one.problems]
    again = recover(found.path).status
    return "; ".join(bad) or ("" if again == found.status else f"recovered again as {again}")


def enumerate_states(story: Story, first: int, place: Path) -> tuple[int, list[str]]:
    """Judge every state after ``first`` operations and more; returns how many there were and what was wrong."""
    wrong, number = [], 0
    for length in range(first, len(story.log) + 1):
        for name, tree, content in states(story.log, length):
            number += 1
            materialise(place, 0, tree, content)
            problem = judge(place, story, length)
            if problem:
                wrong.append(f"after {length} operations, {name}: {problem}")
            shutil.rmtree(place)
    return number, wrong


def test_every_crash_state(story: Story, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """No state that a crash can leave is recovered as more than the truth, and each recovered record verifies."""
    number, wrong = enumerate_states(story, 0, tmp_path / "state")
    record_property("crash_states", number)
    assert (True, []) == (number > 200, wrong)


@pytest.mark.parametrize("died_at", ["action.intent", "run.ended"])
def test_every_crash_state_of_the_recovery(
    story: Story, tmp_path: Path, died_at: str, record_property: Callable[[str, object], None]
) -> None:
    """A crash during the recovery of a dead run is recovered as truthfully as the first one."""
    length = story.done[died_at]
    origin = tmp_path / "origin"
    materialise(origin, 0, names(story.log[:length], durable=False), contents(story.log[:length], durable=False))
    disk = RecordingDisk(origin)
    first = len(disk.log)
    (folder,) = record_folders(origin)
    status = recover(folder, disk=disk).status
    assert status == {"action.intent": "unknown", "run.ended": "succeeded"}[died_at]
    told = Story(disk.log, {"run.ended": 0}, {}, story.hashes)
    told.done = {kind: 0 for kind, at in story.done.items() if at <= length}
    told.done.setdefault("run.ended", len(disk.log) + 1)
    number, wrong = enumerate_states(told, first, tmp_path / "state")
    record_property("crash_states", number)
    assert (True, []) == (number > 50, wrong)
