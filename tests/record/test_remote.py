"""Archives in a bucket of a real S3 server over HTTP."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from runbook_lib.clients.objects import Bucket, ObjectStore
from runbook_lib.errors import CatalogError, RecordError, SourceDeniedError, SourceEmptyError, UsageError
from runbook_lib.record import archive as archives
from runbook_lib.record.chain import locked, read_chain
from runbook_lib.record.folder import RecordFolder, new_run_id
from runbook_lib.record.genesis import genesis
from runbook_lib.record.record import Record
from runbook_lib.record.recover import recover_archive
from runbook_lib.record.verify import Problem, verify, verify_archive

from .bucket import Server, serve

pytest.importorskip("obstore", reason="the extra s3 is not installed")
COMMAND = Path(sys.executable).with_name("runbook")
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIexamplekeyEXAMPLE00"}
_NUMBERS = iter(range(1000))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests; each has a bucket of its own."""
    with serve(tmp_path_factory.mktemp("s3") / "log") as running:
        yield running


class Forbidding(BaseHTTPRequestHandler):
    """A server that lets nobody in."""

    def do_GET(self) -> None:
        """Say no."""
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say it quietly."""


@dataclass
class Machine:
    """A machine that works on the archive: its own folder for states.

    Args:
        url: the archive's address.
        state: the folder.
        use: makes this process be the machine.
    """

    url: str
    state: Path
    use: Callable[[Path], None]

    def __enter__(self) -> archives.Archive:
        self.use(self.state)
        return archives.Archive(self.url)

    def __exit__(self, *_: object) -> None:
        return

    def write(self, name: str = "tiny") -> RecordFolder:
        """Begin a record with one line of output."""
        self.use(self.state)
        folder = RecordFolder.create(self.url, new_run_id(name), genesis=genesis(runbook=name, archive=self.url))
        folder.journal.append("cell.output", {"type": "stream", "text": f"output of {name}\n"}, cell="one")
        folder.journal.append("note", {"text": f"a remark about {name}"})
        return folder


@pytest.fixture
def machines(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Machine]]:
    """Machines that share one new bucket."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.url, "AWS_REGION": "eu-central-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    url = server.bucket(f"test-{next(_NUMBERS)}")
    return lambda name: Machine(url, tmp_path / name, lambda state: monkeypatch.setenv("RUNBOOK_STATE", str(state)))


Machines = Callable[[str], Machine]


def problems(url: str) -> list[Problem]:
    """Everything that is wrong with the archive as the bucket has it."""
    with archives.Archive(url).as_stored() as folder:
        return [one for checked in verify_archive(folder) for one in checked.problems]


def test_a_sealed_record_is_read_on_another_machine(machines: Machines) -> None:
    """What one machine sealed, another lists, searches, finds whole and verifies."""
    record = machines("one").write("deploy").seal("succeeded", "healthy")
    with machines("two") as elsewhere:
        assert [record.name] == [entry.run_id for entry in elsewhere.entries()]
        assert [record.name] == [entry.run_id for entry in elsewhere.search("remark deploy")]
        found = elsewhere.find("last")
    assert not found.is_relative_to(machines("one").state)
    assert () == verify(found).problems
    files = {path.name: path.read_bytes() for path in record.rglob("*") if path.is_file()}
    assert files == {path.name: path.read_bytes() for path in found.rglob("*") if path.is_file()}
    assert [] == problems(machines("two").url)


def test_a_headless_run_goes_into_the_bucket(machines: Machines, tmp_path: Path) -> None:
    """A run is given the bucket's address like any folder; what its cells put out is read on another machine."""
    from benchmarks.records import notebook
    from runbook_lib.headless.runner import execute

    with machines("one"):
        path = notebook(tmp_path / "tiny.ipynb", ["print('said in a cell')"])
        result = execute(path, archive=machines("one").url, watch_parent=False)
    with machines("two") as archive:
        record = Record.read(archive.find(result.run_id))
        assert (True, "said in a cell\n") == (verify(record.path).good, record.last("cell.output")["text"])
        assert [] == problems(machines("two").url)


def test_runs_that_seal_at_once_are_all_in_the_chain(machines: Machines) -> None:
    """Four processes of four machines seal at the same time; each line is there once, none was overwritten."""
    url = machines("one").url
    code = (
        "import sys; from runbook_lib.record.folder import RecordFolder, new_run_id; "
        "from runbook_lib.record.genesis import genesis; url = sys.argv[1]; "
        "[RecordFolder.create(url, new_run_id('at_once'), genesis=genesis(runbook='at_once', archive=url))"
        ".seal('succeeded', 'healthy') for _ in range(3)]"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, url], env={**os.environ, "RUNBOOK_STATE": str(machines(f"m{n}").state)}
        )
        for n in range(4)
    ]
    assert [0] * 4 == [process.wait(timeout=150) for process in started]
    with machines("reader") as archive:
        assert 12 == len(archive.entries())
        links = read_chain(archive.root)
    assert list(range(12)) == [link.number for link in links]
    assert 12 == len({link.run_id for link in links})
    assert [] == problems(url)


def test_a_changed_object_is_named(machines: Machines) -> None:
    """A file that was changed in the bucket is named, also on a machine that has a good copy."""
    record = machines("one").write().seal("succeeded", "healthy")
    with machines("one") as archive:
        place = record.relative_to(archive.root).as_posix()
        ObjectStore(Bucket(archive_url := machines("one").url)).write(f"{place}/report.html", b"all is well")
        with archive.as_stored(record.name) as folder:
            told = [str(one) for one in verify(folder).problems]
    assert ["report.html: was changed after sealing"] == told
    assert ["report.html: was changed after sealing"] == [str(one) for one in problems(archive_url)]


def test_a_removed_record_is_seen(machines: Machines) -> None:
    """A record that was taken out of the bucket by hand is missed."""
    record = machines("one").write().seal("succeeded", "healthy")
    machines("one").write().seal("succeeded", "healthy")
    with machines("one") as archive:
        store, place = ObjectStore(Bucket(machines("one").url)), record.relative_to(archive.root).as_posix()
        store.remove(store.names(place))
    assert [f"{place}: the record is gone, and no removal is written down"] == [
        str(one) for one in problems(machines("one").url)
    ]


def test_retention_is_written_down_in_the_bucket(machines: Machines) -> None:
    """A hold of one machine binds another; a removal is in the chain, and gone from both machines."""
    record = machines("one").write().seal("succeeded", "healthy")
    with machines("two") as archive:
        archive.hold(record.name, "case 7")
    with machines("one") as archive, pytest.raises(RecordError, match="case 7"):
        archive.remove(record, reason="old", by="ada")
    with machines("two") as archive:
        archive.release(record.name)
        archive.remove(archive.find(record.name), reason="old", by="ada")
        assert () == archive.entries()
    with machines("one") as archive:
        assert () == archive.entries()
    assert not record.exists()
    assert [] == problems(machines("one").url)


def test_a_bucket_that_is_away_costs_no_record(
    server: Server, machines: Machines, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the bucket cannot be reached a run seals on its machine and says so; recovery sends the record later."""
    with monkeypatch.context() as broken:
        broken.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with caplog.at_level(logging.WARNING):
            record = machines("one").write().seal("succeeded", "healthy")
        assert verify(record).good
        assert "runbook records recover" in caplog.text
        with machines("one") as archive:
            assert [record.name] == [entry.run_id for entry in archive.entries()]
    machines("two").write().seal("succeeded", "healthy")
    with machines("one") as archive:
        assert [record.name] == [one.path.name for one in recover_archive(archive.root)]
        assert () == recover_archive(archive.root)
        assert 2 == len(archive.entries())
    assert [] == problems(machines("one").url)


def test_a_dead_run_is_recovered_into_the_bucket(machines: Machines) -> None:
    """The record of a run that died on this machine is sealed, sent, and read elsewhere to its last line."""
    dead = machines("one").write("died")
    dead.release()
    with machines("one") as archive:
        assert ["interrupted"] == [one.status for one in recover_archive(archive.root)]
    with machines("two") as archive:
        record = Record.read(archive.find("last"))
    assert "output of died\n" == record.last("cell.output")["text"]
    assert [] == problems(machines("one").url)


def test_sending_again_adds_nothing(machines: Machines) -> None:
    """A line whose answer got lost is found again instead of written twice."""
    record = machines("one").write().seal("succeeded", "healthy")
    with machines("one") as archive:
        (link,) = read_chain(archive.root)
        with locked(archive.root) as chain:
            again = chain.append("sealed", run_id=record.name, path=link.path, seal=link.seal)
        assert (link, 1) == (again, len(read_chain(archive.root)))


def test_the_command_works_on_a_bucket(machines: Machines, tmp_path: Path) -> None:
    """The catalogue names the archive, its server and the names of its keys; no file holds a key."""
    record = machines("one").write("deploy").seal("succeeded", "healthy")
    (tmp_path / "runbook.toml").write_text(
        f'[records]\narchive = "{machines("one").url}"\nendpoint = "{os.environ["AWS_ENDPOINT_URL"]}"\n'
        'region = "eu-central-1"\naccess_key = "env:STORE_KEY"\nsecret_key = "env:STORE_SECRET"\n'
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    keys = {"STORE_KEY": KEYS["AWS_ACCESS_KEY_ID"], "STORE_SECRET": KEYS["AWS_SECRET_ACCESS_KEY"]}

    def command(*words: str) -> tuple[int, str]:
        environment = {**clean, **keys, "RUNBOOK_STATE": str(tmp_path / "three"), "RUNBOOK_ARCHIVE": ""}
        argv = [str(COMMAND), "records", *words]
        done = subprocess.run(
            argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    code, told = command("list", "--json")
    assert (0, record.name) == (code, json.loads(told)["records"][0]["run_id"]), told
    code, told = command("verify")
    assert (0, "good") == (code, told.splitlines()[-1])
    code, told = command("export", "last", str(tmp_path))
    assert (0, f"{record.name}.zip") == (code, Path(told.strip()).name)
    held = [path for path in tmp_path.rglob("*") if path.is_file() and KEYS["AWS_SECRET_ACCESS_KEY"] in
            path.read_text(encoding="utf-8", errors="replace")]  # fmt: skip
    assert [] == held


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        pytest.param("gs://bucket/x", RecordError, "s3://", id="another store"),
        pytest.param("s3://", UsageError, "s3://bucket", id="no bucket"),
        pytest.param("s3://key:word@bucket/x", UsageError, "no credential", id="a credential"),
    ],
)
def test_a_wrong_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, error: type[Exception], words: str
) -> None:
    """Other stores and addresses with credentials are refused with the form that works."""
    monkeypatch.setenv("RUNBOOK_STATE", str(tmp_path))
    with pytest.raises(error, match=words):
        archives.Archive(url).entries()
    assert [] == list(tmp_path.rglob("*"))


def test_half_a_pair_of_keys_is_refused(machines: Machines, tmp_path: Path) -> None:
    """A catalogue with one key of two is wrong."""
    (tmp_path / "runbook.toml").write_text('[records]\naccess_key = "env:STORE_KEY"\n')
    with machines("one") as archive, pytest.raises(CatalogError, match="belong together"):
        archive.entries()


def test_missing_and_forbidden_are_different(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is not there is not the same as one that may not be read, and neither is an empty archive."""
    bucket = Bucket(machines("one").url)
    with pytest.raises(SourceEmptyError, match="not there"):
        ObjectStore(bucket).read("nothing")
    with HTTPServer(("127.0.0.1", 0), Forbidding) as forbidding:
        threading.Thread(target=forbidding.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{forbidding.server_port}")
        for call in (lambda: ObjectStore(bucket).read("one"), lambda: ObjectStore(bucket).names()):
            with pytest.raises(SourceDeniedError, match="access denied"):
                call()
        forbidding.shutdown()
