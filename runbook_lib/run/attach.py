"""How a run finds its surroundings: the record that a runner began, who acts, and whether changes were asked for."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from runbook_lib import catalog
from runbook_lib.errors import CatalogError

#: Names of the variables by which a runner tells the kernel what it began.
RECORD = "RUNBOOK_RECORD"
CATALOG = "RUNBOOK_CATALOG"
APPLY = "RUNBOOK_APPLY"
APPROVAL = "RUNBOOK_APPROVAL"
REPLAY = "RUNBOOK_REPLAY"
RESUME = "RUNBOOK_RESUME"
ARCHIVE = "RUNBOOK_ARCHIVE"
#: Set by whoever serves notebooks to a person and archives each save; what the server calls a kernel's notebook.
SAVES = "RUNBOOK_SAVES"
SESSION = "JPY_SESSION_NAME"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process that runs the notebook was told.

    Args:
        record: folder of the record that a runner began; None when this process begins its own.
        catalog: the service catalogue.
        archive: path or address of the archive.
        apply: whether changes were asked for.
        approval: path of an approval that the runner was given; empty when none.
        replay: folder of a record to answer from; None when the systems themselves are asked.
        resume: folder of the run that this one goes on from; None when it begins from nothing.
        mode: ``headless`` (a runner drives), ``interactive`` (a person can be asked), ``plain`` (another executor)
            or ``replay``.
        saved_as: the notebook whose saved states its server archives, which also seals the record; empty when nobody
            does.
    """

    record: Path | None
    catalog: Path
    archive: str
    apply: bool
    approval: str
    replay: Path | None
    resume: Path | None
    mode: str
    saved_as: str = ""


def surroundings() -> Surroundings:
    """Read them from the process's environment."""
    record, replay = os.environ.get(RECORD, ""), os.environ.get(REPLAY, "")
    named = os.environ.get(CATALOG, "")
    path = Path(named) if named else _near()
    interactive = can_ask()
    mode = "replay" if replay else "headless" if record else "interactive" if interactive else "plain"
    return Surroundings(
        record=Path(record) if record else None,
        catalog=path,
        archive=os.environ.get(ARCHIVE, "") or catalog.load(path).archive,
        # A replay never acts. A person in front of the notebook asks for a change by approving it there.
        apply=not replay and (os.environ.get(APPLY, "") == "1" or interactive),
        approval=os.environ.get(APPROVAL, ""),
        replay=Path(replay) if replay else None,
        resume=Path(named) if (named := os.environ.get(RESUME, "")) else None,
        mode=mode,
        saved_as=os.environ.get(SESSION, "") if interactive and os.environ.get(SAVES, "") == "1" else "",
    )


def _near() -> Path:
    # Jupyter starts kernels in the notebook's folder: the catalogue is there or above. An installed library is not.
    try:
        return catalog.find()
    except CatalogError:
        beside = Path(__file__).resolve().parent.parent.parent
        if (beside / catalog.FILE_NAME).is_file():
            return beside / catalog.FILE_NAME
        raise


def can_ask() -> bool:
    """Whether a person can be asked: the front end of this kernel takes input."""
    shell = _shell()
    return bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", False))


def current_cell() -> str:
    """Id of the cell that is running, as the front end or the runner gave it; empty when it gave none."""
    kernel = getattr(_shell(), "kernel", None)
    if kernel is None:
        return ""
    try:
        parent = kernel.get_parent("shell")
    except (AttributeError, LookupError, TypeError):
        return ""
    metadata = parent.get("metadata", {}) if parent else {}
    return str(metadata.get("cellId") or metadata.get("cell_id") or "")


def _shell() -> object:
    # IPython is only there when it runs this process: asking for it must not import it.
    interactive = sys.modules.get("IPython.core.interactiveshell")
    shell_class = getattr(interactive, "InteractiveShell", None)
    return shell_class._instance if shell_class is not None and shell_class.initialized() else None
