"""The command ``runbook``: one module per verb, each imported only when it is used."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from typer._click.core import Command, Context

#: Verb to its module in this package and its line in the help screen.
VERBS: dict[str, tuple[str, str]] = {
    "list": ("catalogue", "The runbooks there are."),
    "show": ("catalogue", "One runbook: meaning, parameters, what it may change."),
    "run": ("run", "Run a runbook headlessly and archive the record."),
    "fleet": ("fleet", "Run a runbook on many services and environments, one record each."),
    "open": ("open", "Work on a runbook, or look at a run, in JupyterLab."),
    "warm": ("warm", "Import everything once and wait, so that runs begin at once."),
    "approve": ("approve", "Approve one exact plan of a run."),
    "records": ("records", "The archive: list, search, show, verify, replay, recover, keep."),
    "import": ("import_", "Turn a markdown runbook into a notebook."),
    "new": ("new", "Begin a runbook in the shape that every notebook has."),
    "lint": ("lint", "Hold notebooks to the rules of a runbook."),
    "drift": ("drift", "Whether what a runbook names still exists."),
    "coverage": ("coverage", "Alerts without a runbook, runbooks without an alert."),
    "hook": ("hook", "Alerts start runs: serve, jobs."),
    "doctor": ("doctor", "Every system and permission, each line with its fix."),
    "roles": ("roles", "Roles for a cluster with exactly the verbs that runbooks use."),
    "lab": ("lab", "The embedded incident lab: up, down, status, fault, heal, faults."),
    "demo": ("demo", "Start the lab, break it, and run the high-latency runbook on it."),
    "gameday": ("gameday", "Every runbook against every scenario of the lab, scored."),
    "service": ("service", "Services of the catalogue: add one from its deployment."),
    "init": ("init", "Make a folder for your own runbooks and services."),
}


class VerbGroup(TyperGroup):
    """Lists every verb without importing it, so that ``runbook --help`` stays fast."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Verbs in the order of the help screen."""
        return list(VERBS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """The verb's command, imported now; a stand-in with its help line while the help screen is drawn."""
        if cmd_name not in VERBS:
            return None
        if not ctx.resilient_parsing and _help_screen():
            return typer.core.TyperCommand(cmd_name, help=VERBS[cmd_name][1])
        module = importlib.import_module(f"{__name__}.{VERBS[cmd_name][0]}")
        command: Command = typer.main.get_command(module.app)
        chosen: Command = getattr(command, "commands", {}).get(cmd_name, command)
        chosen.name = cmd_name
        return chosen

    def resolve_command(self, ctx: Context, args: list[str]) -> Any:
        """As click does, with the nearest verb in the error."""
        from runbook_lib.errors import UnknownNameError

        if args and not args[0].startswith("-") and args[0] not in VERBS:
            raise UnknownNameError("verb", args[0], VERBS)
        return super().resolve_command(ctx, args)


def _help_screen() -> bool:
    words = sys.argv[1:]
    return not words or words[0] in {"--help", "-h"}


app = typer.Typer(
    cls=VerbGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing the help screen with rich costs three times the rest of the start
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Executable runbooks: investigate, plan, act with approval, and keep a record that stands as evidence.",
)


@app.callback()
def _root() -> None:
    """Executable runbooks."""


def _run_warm() -> None:
    """Let a waiting process do the run, where there is one; comes back where there is none."""
    from runbook_lib.headless import forking, warm

    code = None if forking.ready() else warm.run(sys.argv)
    if code is not None:
        sys.exit(code)


def main() -> None:
    """Entry point: every error of ours becomes one line on stderr and its exit code."""
    from runbook_lib.errors import RunbookError

    if sys.argv[1:2] == ["run"]:
        _run_warm()
    try:
        app(prog_name="runbook")
    except RunbookError as error:
        sys.stderr.write(f"runbook: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
