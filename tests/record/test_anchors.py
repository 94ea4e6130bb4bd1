"""Anchors against a real git remote, a real time-stamping authority (openssl) and a server that answers like Slack."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runbook_lib import catalog
from runbook_lib.record.anchors import BRANCH, FOLDER, LOG, anchor, check, check_record
from runbook_lib.record.chain import CHAIN, read_chain
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.verify import verify_archive

Start = Callable[..., RecordFolder]


@dataclass
class Posts:
    """A server that keeps what is posted to it and answers as ``answer`` says.

    Args:
        answer: body of a request to type and body of the answer.
        bodies: what came.
    """

    answer: Callable[[bytes], tuple[str, bytes]]
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def posts() -> Iterator[Callable[[Callable[[bytes], tuple[str, bytes]]], Posts]]:
    """Starts such servers."""
    started: list[ThreadingHTTPServer] = []

    def begin(answer: Callable[[bytes], tuple[str, bytes]]) -> Posts:
        kept = Posts(answer)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kept.bodies.append(body)
                kind, content = kept.answer(body)
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        kept.url = f"http://127.0.0.1:{server.server_port}"
        return kept

    yield begin
    for server in started:
        server.shutdown()
        server.server_close()


def known(folder: Path, anchors: str, more: str = "") -> catalog.Catalog:
    """A catalogue with these anchors."""
    (folder / "runbook.toml").write_text(f"[records.anchors]\n{anchors}\n{more}")
    return catalog.load(folder / "runbook.toml")


def git(folder: Path, *words: str) -> str:
    """Run git as a person does."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    person = ["-c", "user.name=ada", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *person, *words], cwd=folder, env=clean, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with work that is not committed, and a remote."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    remote, here = tmp_path / "remote.git", tmp_path / "checkout"
    git(tmp_path, "init", "--quiet", "--bare", str(remote))
    git(tmp_path, "clone", "--quiet", str(remote), str(here))
    (here / "readme.txt").write_text("one")
    git(here, "add", "readme.txt")
    git(here, "commit", "--quiet", "-m", "one")
    (here / "readme.txt").write_text("two")
    return here


def sealed(start: Start, catalogue: catalog.Catalog) -> Path:
    """Seal one more record and anchor it."""
    return anchor(start("tiny").seal("succeeded", "healthy"), catalogue)


def said(archive: Path, catalogue: catalog.Catalog | None) -> list[str]:
    """What does not fit the anchors, in words."""
    return [str(one) for one in check(archive, archive, catalogue)[0]]


def test_git_gets_the_chain_and_the_work_stays(start: Start, archive: Path, checkout: Path, tmp_path: Path) -> None:
    """Each seal is a commit on a branch of its own, pushed; what is checked out and not committed is as before."""
    catalogue = known(tmp_path, 'git = "checkout"')
    before = git(checkout, "status", "--porcelain", "--branch"), git(checkout, "rev-parse", "HEAD")
    for _ in range(2):
        sealed(start, catalogue)
    assert (archive / CHAIN).read_text().strip() == git(tmp_path / "remote.git", "show", f"{BRANCH}:{CHAIN}")
    assert "2" == git(tmp_path / "remote.git", "rev-list", "--count", BRANCH)
    assert before == (git(checkout, "status", "--porcelain", "--branch"), git(checkout, "rev-parse", "HEAD"))
    problems, proven = check(archive, archive, catalogue)
    assert ([], True) == (problems, proven[0].startswith("2 lines of the chain are as anchored in"))


def test_one_record_is_held_by_the_anchors_that_cover_it(
    start: Start, archive: Path, checkout: Path, tmp_path: Path
) -> None:
    """Of one record its own line counts, and every anchor from there on; what was changed after it does not."""
    catalogue = known(tmp_path, 'git = "checkout"')
    first, second, last = (sealed(start, catalogue) for _ in range(3))
    problems, proven = check_record(second, archive, catalogue)
    assert [] == problems
    assert proven[0].startswith("line 1 of the archive's chain; anchored with line 1 in checkout on ")
    unanchored = start("tiny").seal("succeeded", "healthy")
    assert ([], ["line 3 of the archive's chain; no anchor covers it"]) == check_record(unanchored, archive, None)
    lines = (archive / CHAIN).read_bytes().splitlines(keepends=True)
    (archive / CHAIN).write_bytes(b"".join([*lines[:2], lines[2].replace(b'"number":2', b'"number":9')]))
    told = {one: [str(each) for each in check_record(one, archive, catalogue)[0]] for one in (first, second, last)}
    assert ([], []) == (told[first], told[second])
    assert any("line 2" in one for one in told[last])


def test_record_that_was_sealed_anew_is_seen(start: Start, archive: Path, checkout: Path, tmp_path: Path) -> None:
    """A record whose every file was made again, with the chain's lines, is not what the repository has."""
    catalogue = known(tmp_path, 'git = "checkout"')
    old = sealed(start, catalogue)
    shutil.rmtree(old)
    (archive / CHAIN).unlink()
    again = start("tiny").seal("failed", "failing")
    again.rename(old)
    text = (archive / CHAIN).read_text().replace(again.name, old.name)
    (archive / CHAIN).write_text(text)
    told = [str(one) for one in check_record(old, archive, catalogue)[0]]
    assert any("is not as anchored in" in one for one in told), told


def test_an_archive_that_was_written_anew_is_seen(start: Start, archive: Path, checkout: Path, tmp_path: Path) -> None:
    """Who owns the disk can take the newest record, its line and the log away; the repository still knows."""
    catalogue = known(tmp_path, 'git = "checkout"')
    sealed(start, catalogue)
    newest = sealed(start, catalogue)
    shutil.rmtree(newest)
    (archive / CHAIN).write_bytes(b"".join((archive / CHAIN).read_bytes().splitlines(keepends=True)[:1]))
    assert [f"{CHAIN}, line 1: is not what was anchored"] == [one.partition(" on ")[0] for one in said(archive, None)]
    shutil.rmtree(archive / FOLDER)
    assert [] == [one for checked in verify_archive(archive) for one in checked.problems]
    told = said(archive, catalogue)
    assert [f"{CHAIN}, line 1: is not as anchored in {checkout}: it was changed or removed since"] == told
    # Nor does the next seal cover it up.
    sealed(start, catalogue)
    assert "is no beginning of this one" in json.loads((archive / FOLDER / LOG).read_bytes().splitlines()[-1])["error"]
    assert said(archive, catalogue)


def test_an_anchor_that_fails_costs_no_record(
    start: Start, archive: Path, checkout: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A remote that is gone is said and noted; the next seal that arrives covers what was missed."""
    catalogue = known(tmp_path, 'git = "checkout"')
    shutil.move(tmp_path / "remote.git", tmp_path / "away.git")
    with caplog.at_level(logging.WARNING):
        assert verify_archive(sealed(start, catalogue).parents[3])[0].good
    assert "could not be anchored" in caplog.text
    shutil.move(tmp_path / "away.git", tmp_path / "remote.git")
    sealed(start, catalogue)
    entries = [json.loads(line) for line in (archive / FOLDER / LOG).read_bytes().splitlines()]
    assert [True, False] == [bool(entry["error"]) for entry in entries]
    assert (archive / CHAIN).read_text().strip() == git(tmp_path / "remote.git", "show", f"{BRANCH}:{CHAIN}")


def test_a_fresh_clone_knows_the_anchors(start: Start, archive: Path, checkout: Path, tmp_path: Path) -> None:
    """A clone without the branch, as CI has it, verifies against the remote's and goes on from there."""
    sealed(start, known(tmp_path, 'git = "checkout"'))
    git(tmp_path, "clone", "--quiet", str(tmp_path / "remote.git"), str(tmp_path / "fresh"))
    fresh = known(tmp_path, 'git = "fresh"')
    problems, proven = check(archive, archive, fresh)
    assert ([], True) == (problems, proven[0].startswith("1 lines"))
    sealed(start, fresh)
    assert "2" == git(tmp_path / "remote.git", "rev-list", "--count", BRANCH)
    # The first clone is behind now, and catches up.
    sealed(start, known(tmp_path, 'git = "checkout"'))
    assert "3" == git(tmp_path / "remote.git", "rev-list", "--count", BRANCH)
    entries = [json.loads(line) for line in (archive / FOLDER / LOG).read_bytes().splitlines()]
    assert [""] * 3 == [entry["error"] for entry in entries]


AUTHORITY = """[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


def authority(folder: Path) -> Callable[[bytes], tuple[str, bytes]]:
    """A time-stamping authority with a root of its own in ``ca.pem``."""
    folder.mkdir()
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    (folder / "use.cnf").write_text("extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n")
    (folder / "tsa.cnf").write_text(AUTHORITY.format(folder=folder))
    (folder / "serial").write_text("01\n")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True, timeout=60)

    root = ["-subj", "/CN=root", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem"]
    openssl("req", "-x509", *key, *root)
    openssl("req", "-new", *key, "-subj", "/CN=tsa", "-keyout", "tsa.key", "-out", "tsa.csr")
    signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", "use.cnf"]
    openssl("x509", "-req", "-in", "tsa.csr", *signing, "-out", "tsa.pem")

    def answer(query: bytes) -> tuple[str, bytes]:
        (folder / "query.tsq").write_bytes(query)
        openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-out", "reply.tsr")
        return "application/timestamp-reply", (folder / "reply.tsr").read_bytes()

    return answer


@pytest.fixture
def stamped(start: Start, archive: Path, tmp_path: Path, posts: Callable[..., Posts]) -> catalog.Catalog:
    """An archive of two records, the head of each stamped by an authority."""
    pytest.importorskip("rfc3161_client", reason="the extra rfc3161 is not installed")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    server = posts(authority(tmp_path / "authority"))
    catalogue = known(tmp_path, f'rfc3161 = "{server.url}"\nrfc3161_ca = "authority/ca.pem"')
    for _ in range(2):
        sealed(start, catalogue)
    assert 2 == len(server.bodies)
    return catalogue


def test_a_time_stamp_proves_when(archive: Path, stamped: catalog.Catalog) -> None:
    """The authority's answers are kept beside the chain and verify offline."""
    problems, proven = check(archive, archive, stamped)
    assert ([], 1) == (problems, len(proven))
    assert proven[0].startswith("the chain up to line 1 existed on 20")
    entries = [json.loads(line) for line in (archive / FOLDER / LOG).read_bytes().splitlines()]
    assert [""] * 2 == [entry["error"] for entry in entries]
    # The authority's own tool agrees.
    link, token = read_chain(archive)[1], sorted((archive / FOLDER).glob("*.tsr"))[1]
    (archive / "stamped").write_bytes(link.hash.encode())
    argv = ["openssl", "ts", "-verify", "-data", str(archive / "stamped"), "-in", str(token)]
    argv += ["-CAfile", str(stamped.path.parent / "authority" / "ca.pem")]
    assert 0 == subprocess.run(argv, capture_output=True, check=False, timeout=60).returncode


def test_a_stamp_of_something_else_is_no_proof(archive: Path, stamped: catalog.Catalog) -> None:
    """A stamp that was moved to another line, changed, or made by somebody else is named."""
    first, second = sorted((archive / FOLDER).glob("*.tsr"))
    good = second.read_bytes()
    second.write_bytes(first.read_bytes())
    assert 1 == len(said(archive, stamped))
    second.write_bytes(good[:-40] + bytes(40))
    assert 1 == len(said(archive, stamped))
    second.write_bytes(good)
    other = stamped.path.parent / "other"
    authority(other)
    (stamped.path.parent / "authority" / "ca.pem").write_bytes((other / "ca.pem").read_bytes())
    assert [True, True] == ["no authority" in one for one in said(archive, stamped)]


def test_an_answer_that_is_no_stamp_is_not_kept(
    start: Start, archive: Path, tmp_path: Path, posts: Callable[..., Posts]
) -> None:
    """A proxy's page in place of a stamp is an error in the log, not an anchor."""
    pytest.importorskip("rfc3161_client", reason="the extra rfc3161 is not installed")
    server = posts(lambda _: ("text/html", b"<p>please log in</p>"))
    sealed(start, known(tmp_path, f'rfc3161 = "{server.url}"'))
    (entry,) = [json.loads(line) for line in (archive / FOLDER / LOG).read_bytes().splitlines()]
    assert "answered 200 with text/html" in entry["error"]
    assert [] == list((archive / FOLDER).glob("*.tsr"))


def test_slack_gets_the_head_in_the_incidents_thread(
    incident: Callable[..., RecordFolder], archive: Path, tmp_path: Path, posts: Callable[..., Posts],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The head is posted under the message that the run itself posted; the token stands in no file."""
    monkeypatch.setenv("SLACK_WORD", "xoxb-1234567890-canary-of-anchors")
    server = posts(lambda _: ("application/json", b'{"ok": true, "channel": "C1", "ts": "9.9"}'))
    slack = f'[environments.shop.slack]\nwebhook = "env:SLACK_WORD"\ntoken = "env:SLACK_WORD"\nurl = "{server.url}"\n'
    catalogue = known(tmp_path, 'slack = "shop"', slack + 'channel = "#api"\n')
    folder = incident()
    posted = {"plan": "p", "outcome": "applied", "reason": "", "read_back": {"channel": "C1", "ts": "1.5"}}
    folder.journal.append("action.outcome", posted)
    anchor(folder.seal("succeeded", "failing"), catalogue)
    (body,) = [json.loads(one) for one in server.bodies]
    assert ("C1", "1.5") == (body["channel"], body["thread_ts"])
    assert read_chain(archive)[-1].hash in body["text"]
    assert [] == [path for path in archive.rglob("*") if path.is_file() and b"xoxb-1234" in path.read_bytes()]


def test_no_anchors_no_log(start: Start, archive: Path, tmp_path: Path) -> None:
    """Without anchors in the catalogue nothing is written and nobody is asked."""
    sealed(start, known(tmp_path, ""))
    assert not (archive / FOLDER).exists()
    assert ([], []) == check(archive, archive, None)
