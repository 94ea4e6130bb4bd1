"""Answers on disk: packed when they are long, the same when they are read, and never out of the sweep's sight."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from runbook_lib.errors import RecordError
from runbook_lib.model import Evidence, Series
from runbook_lib.model.times import utc_now
from runbook_lib.record import evidence_file
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.verify import verify
from runbook_lib.secrets import Redactor, Secret


def evidence(points: int, title: str = "Rates") -> Evidence:
    """One series of counts over a minute."""
    times = array("d", (1_700_000_000.125 + 15 * i for i in range(points)))
    series = Series({"pod": "a"}, times, array("d", ((i * i) % 977 / 60 for i in range(points))))
    return Evidence("prometheus", "rates", title, "requests/s", "rate(x[1m])", {}, None, utc_now(), (series,))


def begin(archive: Path, redactor: Redactor | None = None) -> RecordFolder:
    """A record that is being written."""
    facts = genesis(runbook="tiny", archive=archive)
    return RecordFolder.create(archive, new_run_id("tiny"), genesis=facts, redactor=redactor)


@pytest.mark.parametrize(("points", "ending"), [(10, ".json"), (20_000, ".json.xz")], ids=["short", "long"])
def test_an_answer_is_read_back_as_it_was(tmp_path: Path, points: int, ending: str) -> None:
    """The same numbers, the same digest, in a record that verifies."""
    kept, folder = evidence(points), begin(tmp_path)
    folder.keep(kept)
    record = Record.read(folder.seal("succeeded", "healthy"))
    (entry,) = record.evidence
    assert str(entry["file"]).endswith(ending)
    assert kept.digest == record.answer(entry).digest
    assert verify(record.path).good


def test_a_long_answer_takes_a_tenth(tmp_path: Path) -> None:
    """Regular times and counted values repeat themselves."""
    folder, kept = begin(tmp_path), evidence(20_000)
    folder.keep(kept)
    (file,) = (folder.path / "evidence").iterdir()
    assert 10 * file.stat().st_size < len(evidence_file.read(file))
    folder.release()


def test_a_broken_file_is_no_evidence(tmp_path: Path) -> None:
    """It is told, not guessed."""
    folder = begin(tmp_path)
    folder.keep(evidence(20_000))
    (file,) = (folder.path / "evidence").iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    record = Record.read(folder.path)
    with pytest.raises(RecordError, match="no evidence"):
        record.answer(record.evidence[0])
    # The search for secrets at the end of the tests reads every packed file.
    file.unlink()
    folder.release()


def test_the_last_sweep_looks_into_packed_files(tmp_path: Path) -> None:
    """A secret that came into one is found before the seal."""
    redactor = Redactor()
    folder = begin(tmp_path, redactor)
    folder.keep(evidence(20_000, title="the words hunter2-hunter2"))
    redactor.learn(Secret("hunter2-hunter2"))
    with pytest.raises(RecordError, match="known secret"):
        folder.seal("succeeded", "healthy")
    folder.release()
