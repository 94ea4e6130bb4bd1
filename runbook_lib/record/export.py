"""One record as one file that verifies on another machine."""

from __future__ import annotations

import zipfile
from pathlib import Path

from runbook_lib.errors import RecordError
from runbook_lib.record.verify import verify


def export(record: str | Path, target: str | Path) -> Path:
    """Write one record as a zip that verifies on another machine after unpacking.

    Args:
        record: folder of a sealed record.
        target: the zip, or a folder to put it in.

    Raises:
        RecordError: the record does not verify, or the file exists or cannot be written.
    """
    folder = Path(record)
    checked = verify(folder)
    if not checked.good:
        raise RecordError(f"{folder}: is not exported because it does not verify: {checked.problems[0]}")
    place = Path(target) / f"{folder.name}.zip" if Path(target).is_dir() else Path(target)
    try:
        with zipfile.ZipFile(place, "x", zipfile.ZIP_DEFLATED) as bundle:
            for path in sorted(one for one in folder.rglob("*") if one.is_file()):
                bundle.write(path, f"{folder.name}/{path.relative_to(folder).as_posix()}")
    except OSError as error:
        raise RecordError(f"{place}: cannot be written: {error.strerror}") from error
    return place
