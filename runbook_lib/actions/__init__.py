"""Actions: plan -> guards -> approval -> apply -> read back. One module per kind of action."""

from runbook_lib.actions.advice import advice
from runbook_lib.actions.approval import grant, identity
from runbook_lib.actions.choose import choose
from runbook_lib.actions.command import command
from runbook_lib.actions.deploy import deploy
from runbook_lib.actions.end_backend import end_backend
from runbook_lib.actions.guarded import apply
from runbook_lib.actions.migrate_down import STOP, migrate_down
from runbook_lib.actions.notify import answer, message, note, page
from runbook_lib.actions.propose import bind, propose
from runbook_lib.actions.rollback import rollback
from runbook_lib.actions.scale import scale

__all__ = [
    "STOP",
    "advice",
    "answer",
    "apply",
    "bind",
    "choose",
    "command",
    "deploy",
    "end_backend",
    "grant",
    "identity",
    "message",
    "migrate_down",
    "note",
    "page",
    "propose",
    "rollback",
    "scale",
]
