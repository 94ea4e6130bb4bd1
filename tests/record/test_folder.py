"""The record's folder: exclusive, private, whole files, sealed once."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.errors import RecordError, UnknownNameError
from runbook_lib.model import Evidence, Gap, Series, Table
from runbook_lib.model.times import utc_now
from runbook_lib.record.diff import answers
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify
from runbook_lib.secrets import Redactor, Secret

Start = Callable[..., RecordFolder]
CANARY = "canary-7f3a-secret"


def evidence(text: str = "x") -> Evidence:
    table = Table(("pid", "query"), ((1, text), (2, None)))
    return Evidence("postgres", "activity", "Sessions", "", "SELECT 1", {"limit": 5}, None, utc_now(), table)


def test_two_runs_never_share_a_folder(start: Start) -> None:
    """A second run of the same id is refused."""
    start(run_id="same-run")
    with pytest.raises(RecordError, match="has a record already"):
        start(run_id="same-run")


def test_a_sealed_run_keeps_its_name(start: Start) -> None:
    """A run id whose record is sealed cannot be started again."""
    start(run_id="same-run").seal("succeeded", "healthy")
    with pytest.raises(RecordError, match="has a record already"):
        start(run_id="same-run")


@pytest.mark.parametrize("name", ["../../x", "a/b", ".hidden", "a b", "", "x" * 100, "a\n"])
def test_a_run_id_cannot_leave_the_archive(archive: Path, name: str) -> None:
    """Run ids with slashes, dots, blanks or of absurd length are refused."""
    with pytest.raises(RecordError, match="run id"):
        RecordFolder.create(archive, name, genesis={})


@pytest.mark.parametrize("name", ["../x", "sub/x", ".x", "events.jsonl"])
def test_a_file_cannot_leave_the_folder(start: Start, name: str) -> None:
    """write refuses names that lead out of the folder, hide, or are the journal's."""
    with pytest.raises(RecordError, match="no name for a file"):
        start().write(name, b"x")


@pytest.mark.parametrize("address", ["gs://bucket/x", "https://example.com/x"])
def test_an_archive_of_another_kind_is_refused(address: str) -> None:
    """Only folders are written to; another address is an error that says so."""
    with pytest.raises(RecordError, match="file://"):
        RecordFolder.create(address, "run-1", genesis={})


def test_only_the_owner_may_read(start: Start) -> None:
    """Folders of a record are 0700 and its files 0600, sealed too."""
    folder = start()
    folder.keep(evidence())
    record = folder.seal("succeeded", "healthy")
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (record, *record.rglob("*"))}
    assert {0} == modes


def test_a_record_is_running_until_it_is_sealed(start: Start) -> None:
    """A fresh record says running, and its folder is marked as partial."""
    folder = start()
    assert ("running", ".partial") == (str(Record.read(folder.path).status), folder.path.suffix)


def test_evidence_comes_back_as_it_was(start: Start) -> None:
    """What keep wrote reads back with the same digest, under the reference it returned."""
    folder, answer = start(), evidence()
    ref = folder.keep(answer)
    record = Record.read(folder.path)
    (entry,) = record.evidence
    assert (ref, answer.digest) == (f"postgres.activity#{entry['digest']}", record.answer(entry).digest)


def test_the_same_answer_is_stored_once(start: Start) -> None:
    """Two equal answers are two events and one file."""
    folder, answer = start(), evidence()
    folder.keep(answer)
    folder.keep(answer)
    assert (2, 1) == (len(Record.read(folder.path).evidence), len(list((folder.path / "evidence").iterdir())))


def test_what_is_only_watched_counts_for_nothing(start: Start) -> None:
    """A picture's reading is kept and marked; it closes no gap, opens none, and a replay does not ask for it."""
    folder, answer = start(), evidence()
    missing = Gap(answer.source, answer.name, answer.title, "refused", "unreachable", True, utc_now())
    other = Gap("redis", "info", "Memory", "refused", "unreachable", True, utc_now())
    folder.keep(missing)
    folder.keep(answer, watched=True)
    folder.keep(other, watched=True)
    record = Record.read(folder.path)
    assert ["postgres.activity"] == [f"{gap['source']}.{gap['name']}" for gap in record.gaps]
    assert (1, ["gap"]) == (len(record.evidence), [event.kind for event in answers(record)])


def test_not_a_number_survives_in_evidence(start: Start) -> None:
    """A series with NaN and infinity is stored as JSON and reads back the same."""
    folder = start()
    series = Series.of([(1.0, float("nan")), (2.0, float("inf")), (3.0, 0.25)])
    folder.keep(Evidence("prometheus", "up", "Up", "s", "up", {}, None, utc_now(), (series,)))
    record = Record.read(folder.path)
    back = record.answer(record.evidence[0]).series[0]
    assert ["nan", "inf", "0.25"] == [str(value) for value in back.values]


@pytest.mark.parametrize("where", ["table", "query", "label", "note"])
def test_a_known_secret_reaches_no_file(start: Start, where: str) -> None:
    """A known secret in evidence, labels or notes stands in no file of the sealed record."""
    folder = start(redactor=Redactor([Secret(CANARY)]))
    if where == "label":
        series = (Series.of([(1.0, 2.0)], {"dsn": f"postgres://u:{CANARY}@h/d"}),)
        folder.keep(Evidence("prometheus", "up", "Up", "s", "up", {}, None, utc_now(), series))
    elif where == "note":
        folder.journal.append("note", {"text": f"password is {CANARY}"})
    else:
        folder.keep(evidence(f"ALTER ROLE x PASSWORD '{CANARY}'"))
    record = folder.seal("succeeded", "healthy")
    assert [path for path in record.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()] == []


def test_the_last_sweep_blocks_the_seal(start: Start) -> None:
    """A known secret that another writer put into the folder keeps it from being sealed; the file is named."""
    folder = start(redactor=Redactor([Secret(CANARY)]))
    (folder.path / "notebook.ipynb").write_text(json.dumps({"source": CANARY}))
    with pytest.raises(RecordError, match=r"notebook\.ipynb") as caught:
        folder.seal("succeeded", "healthy")
    assert (True, False) == (folder.path.is_dir(), CANARY in str(caught.value))


def test_a_seal_after_the_secret_is_gone(start: Start) -> None:
    """When the file is cleaned the same run can be sealed."""
    folder = start(redactor=Redactor([Secret(CANARY)]))
    target = folder.path / "notebook.ipynb"
    target.write_text(CANARY)
    with pytest.raises(RecordError):
        folder.seal("succeeded", "healthy")
    target.write_text("{}")
    assert verify(folder.seal("attention", "degraded")).problems == ()


def test_a_sealed_record_cannot_be_opened(start: Start) -> None:
    """Nothing can be added to a sealed record."""
    record = start().seal("succeeded", "healthy")
    with pytest.raises(RecordError, match="sealed"):
        RecordFolder.open(record)


@pytest.mark.parametrize("status", ["running", "fine", ""])
def test_a_seal_needs_an_ending(start: Start, status: str) -> None:
    """running and unknown words are no status to seal with."""
    with pytest.raises(RecordError, match="is not sealed as"):
        start().seal(status, "healthy")


def test_two_writers_of_one_run(start: Start) -> None:
    """A kernel that joins the record writes into the same journal as the runner."""
    runner = start()
    kernel = RecordFolder.open(runner.path)
    kernel.journal.append("verdict", {"verdict": "healthy"})
    kernel.release()
    assert verify(runner.seal("succeeded", "healthy")).problems == ()


def test_a_view_that_fails_does_not_block_the_seal(start: Start) -> None:
    """With a journal that a view cannot show, the record is sealed and says which view is missing."""
    folder = start()
    folder.journal.append("finding", {"severity": "critical"})
    record = Record.read(folder.seal("attention", "degraded"))
    notes = [event.data["text"] for event in record.all("note")]
    assert (True, ()) == (any("report.html could not be made" in one for one in notes), verify(record.path).problems)


def test_genesis_refuses_unknown_facts(archive: Path) -> None:
    """A misspelt fact is refused with the nearest one."""
    with pytest.raises(UnknownNameError, match="environment"):
        genesis(runbook="r", archive=archive, enviroment="lab")


def test_genesis_binds_the_archive_before_it(start: Start) -> None:
    """The second run's first event names the seal of the first one."""
    start().seal("succeeded", "healthy")
    assert 0 == Record.read(start().path).run["previous"]["number"]


def test_run_ids_differ(start: Start) -> None:
    """Two run ids of one second are not the same, and tell the runbook."""
    one, two = new_run_id("High Latency!"), new_run_id("High Latency!")
    assert (True, True) == (one != two, "-high_latency-" in one)


def test_a_reader_never_sees_a_part(start: Start) -> None:
    """A file that is replaced over and over is whole at every one of 500 looks at it."""
    folder, stop = start(), threading.Event()
    contents = [json.dumps({"filler": letter * 40000}).encode() for letter in "abc"]
    folder.write("summary.md", contents[0])

    def replace() -> None:
        while not stop.is_set():
            for content in contents:
                folder.write("summary.md", content)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        seen = [(folder.path / "summary.md").read_bytes() in contents for _ in range(500)]
    finally:
        stop.set()
        writer.join()
    assert 500 == seen.count(True)


def test_a_full_disk_keeps_the_last_good_file(tmp_path: Path) -> None:
    """When a file cannot be replaced for want of space, the content before stays and the error says why."""
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=4m none {small} 2>/dev/null") != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    folder = None
    try:
        folder = RecordFolder.create(small, "run-1", genesis={"runbook": "r"})
        folder.write("notebook.ipynb", b"good" * 1000)
        with pytest.raises(RecordError, match="No space left"):
            folder.write("notebook.ipynb", b"x" * 5_000_000)
        assert b"good" * 1000 == (folder.path / "notebook.ipynb").read_bytes()
        assert [] == list(folder.path.glob(".*.tmp"))
    finally:
        if folder is not None:
            folder.release()
        os.system(f"umount {small}")


def test_write_cost_stays_near_the_final_size(start: Start) -> None:
    """For 200 cells of 50 kB output, all bytes written are at most three times the size of the sealed record."""
    folder = start()
    before = _written_bytes()
    for number in range(200):
        folder.journal.append("cell.output", {"type": "stream", "text": f"{number:05d}" * 10000}, cell=f"c{number}")
    record = folder.seal("succeeded", "healthy")
    size = sum(path.stat().st_size for path in record.rglob("*") if path.is_file())
    written = _written_bytes() - before
    assert written <= 3 * size


def _written_bytes() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])
