"""Verify a runbook record with nothing but Python's standard library (and ssh-keygen for a signature).

    python verify_record.py RECORD [ALLOWED_SIGNERS]

RECORD is the folder of one sealed record. ALLOWED_SIGNERS is a file of trusted public keys in the format of
ssh-keygen(1); with it, an unsigned record is a failure. Prints one line for each problem; exit code 0 when there is
none, 7 otherwise. The format is described in record-format.md. This script shares no code with runbook_lib.
"""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

ZERO = "sha256:" + "0" * 64
# The members after "data", which close every line of the journal.
TAIL = re.compile(
    rb',"hash":"(sha256:[0-9a-f]{64})"(,"kind":"([a-z.]+)","mono_ns":\d+,"prev":"(sha256:[0-9a-f]{64})",'
    rb'"run_id":"([A-Za-z0-9._-]+)","seq":(\d+),"ts":"[0-9TZ:.-]+","v":1\})\Z'
)
SEAL_FILES = {"manifest.json", "seal.json", "seal.json.sig"}


def sha256(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def canonical(value):
    """RFC 8785 for what a manifest and a seal hold: text, booleans, small integers, ASCII keys."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def check_journal(folder, manifest):
    """Each line gives its own hash and names the hash of the line before; returns the events."""
    *lines, torn = (folder / "events.jsonl").read_bytes().split(b"\n")
    if torn:
        yield "events.jsonl: the last line is torn"
    head, run_id, events = ZERO, manifest["run_id"].encode(), []
    for number, line in enumerate(lines):
        where = f"events.jsonl, event {number}"
        found = TAIL.search(line, max(0, len(line) - 560))
        if not found:
            yield f"{where}: not an event"
            continue
        own, tail, _, prev, run, seq = found.groups()
        if sha256(line[: found.start()] + tail) != own.decode():
            yield f"{where}: its content does not give its hash"
        elif (int(seq), prev.decode(), run) != (number, head, run_id):
            yield f"{where}: does not follow the event before"
        head = own.decode()
        try:
            events.append(json.loads(line))
        except ValueError:
            yield f"{where}: not JSON"
    if manifest["journal"] != {"events": len(lines), "head": head}:
        yield "events.jsonl: does not end where the seal says"
    yield from check_story(folder, manifest, events)


def check_story(folder, manifest, events):
    """The journal ends as the manifest says, and the evidence it names is there."""
    said = (manifest["status"], manifest["verdict"])
    ends = [event for event in events if event["kind"] in ("run.ended", "sealed")][-2:]
    if not events or events[-1]["kind"] != "sealed":
        yield "events.jsonl: does not end with the event sealed"
    if any((event["data"].get("status"), event["data"].get("verdict")) != said for event in ends):
        yield "manifest.json: its status and verdict are not those of the journal"
    lost = {name for event in events if event["kind"] == "recovered" for name in event["data"].get("lost_evidence", ())}
    for event in events:
        name = str(event["data"].get("file", ""))
        if event["kind"] != "evidence" or name in lost:
            continue
        target = folder / name
        if not name.startswith("evidence/") or ".." in name or not target.is_file():
            yield f"{name}, event {event['seq']}: the evidence is missing"
        elif sha256(target.read_bytes()) != event["data"].get("sha256"):
            yield f"{name}, event {event['seq']}: is not what was read"


def check_files(folder, manifest):
    """Every file is listed, and every listed file has its size and digest."""
    listed = {entry["name"]: entry for entry in manifest["files"]}
    there = {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_symlink() or not one.is_dir()}
    for name in sorted(there - set(listed) - SEAL_FILES):
        if name != ".lock" or (folder / name).stat().st_size:  # a crash right after the seal may leave it, empty
            yield f"{name}: was added after sealing"
    for name, entry in listed.items():
        if name not in there or (folder / name).is_symlink():
            yield f"{name}: missing"
            continue
        content = (folder / name).read_bytes()
        if (len(content), sha256(content)) != (entry["bytes"], entry["sha256"]):
            yield f"{name}: was changed after sealing"


def check_seal(folder, content, manifest):
    """The seal is the in-toto statement over exactly this manifest."""
    wanted = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "manifest.json", "digest": {"sha256": hashlib.sha256(content).hexdigest()}}],
        "predicateType": "urn:runbook-lib:record:v1",
        "predicate": {key: manifest[key] for key in ("run_id", "status", "verdict", "sealed_at", "journal")},
    }
    if (folder / "seal.json").read_bytes() != canonical(wanted):
        yield "seal.json: does not match manifest.json"
    if manifest["signed"] and not (folder / "seal.json.sig").is_file():
        yield "seal.json.sig: missing"
    if folder.name != manifest["run_id"]:
        yield f"manifest.json: is of run {manifest['run_id']}"


def check_signature(folder, allowed):
    """A trusted key signed the seal, in the namespace runbook-record."""
    signature, seal = folder / "seal.json.sig", (folder / "seal.json").read_bytes()
    if not signature.is_file():
        yield "seal.json.sig: missing: the record is not signed"
        return
    argv = ["ssh-keygen", "-Y", "find-principals", "-f", allowed, "-s", str(signature)]
    who = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout.splitlines()
    argv = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-n", "runbook-record", "-s", str(signature), "-I", *who[:1]]
    if not who or subprocess.run(argv, input=seal, capture_output=True, timeout=10, check=False).returncode:
        yield "seal.json.sig: no trusted key made this signature"


def problems(folder, allowed=""):
    """Everything that is wrong with a record, one sentence each."""
    try:
        content = (folder / "manifest.json").read_bytes()
        manifest = json.loads(content)
        if canonical(manifest) != content:
            yield "manifest.json: not in canonical form"
        yield from check_seal(folder, content, manifest)
        yield from check_files(folder, manifest)
        yield from check_journal(folder, manifest)
        if allowed:
            yield from check_signature(folder, allowed)
    except FileNotFoundError as error:
        yield f"{Path(error.filename).name}: missing: the record is not sealed, so the run was not successful"
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        yield f"manifest.json or events.jsonl: not of the form of a record: {error!r}"


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or not Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    wrong = list(problems(Path(sys.argv[1]).absolute(), *sys.argv[2:3]))
    print("\n".join(wrong) or "good")  # noqa: T201 - a script for a person
    sys.exit(7 if wrong else 0)
