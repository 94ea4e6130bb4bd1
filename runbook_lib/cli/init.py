"""``runbook init``: a folder for one's own services and runbooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runbook_lib.cli.output import line

app = typer.Typer(rich_markup_mode=None)

TEMPLATE = """# The service catalogue.
# Secrets stand here by name (env:NAME, file:PATH, k8s:namespace/name/key), never by value.

[services.api]
description = "what it does, in one sentence"
owner = "the owning team"
alerts = ["slack:#alerts"]

[services.api.contacts]
primary = "slack:#oncall"

[services.api.links]
# {from} and {to} become the run's window in epoch milliseconds.
dashboard = "https://grafana.example.com/d/api?from={from}&to={to}"

[services.api.objectives.latency]
kind = "latency"
target = 0.95
threshold_seconds = 0.2

[services.api.objectives.availability]
kind = "availability"
target = 0.999
window_days = 30

[services.api.workload]
namespace = "production"
deployment = "api"
container = "api"
# Labels that select this service's metrics, and metric names where they differ from the defaults.
selector = { namespace = "production", service = "api" }
# metrics = { latency_histogram = "http_server_duration_seconds" }

[environments.production]
description = "where users are"
# Kinds of action that runs may carry out here after an approval; empty: read only.
actions = []
approval = { default = "one" }
# An approval is signed by a key of this file (ssh-keygen(1), ALLOWED SIGNERS, namespaces="runbook-approval").
# signers = "allowed_signers"
# approvers = { default = ["ada@example.com", "grace@example.com"] }
# freezes = [{ from = 2026-12-20T00:00:00Z, to = 2027-01-04T00:00:00Z, reason = "end of year", allow = ["rollback"] }]

[environments.production.prometheus]
url = "http://127.0.0.1:9090"

[environments.production.kubernetes]
kubeconfig = "~/.kube/config"
# allow_exec = true    # the kubeconfig may run a program for its credentials, as those of most clouds do
namespace = "production"

[environments.production.service]
url = "http://127.0.0.1:8080"

# [environments.production.postgres]
# host = "127.0.0.1"
# database = "app"
# user = "rb_read"
# password = "env:RB_READ_PASSWORD"

# [environments.production.redis]
# host = "127.0.0.1"

# [records]
# archive = "s3://records/api"   # default: outputs beside this file
# signing_key = "~/.ssh/runbook"
# [records.anchors]
# git = "../anchors"
"""


@app.command("init")
def init(folder: Annotated[Path, typer.Argument(help="Made when missing.")]) -> None:
    """Make a folder with a catalogue to edit; nothing that exists is overwritten."""
    from runbook_lib.catalog import FILE_NAME
    from runbook_lib.errors import UsageError

    path = folder / FILE_NAME
    if path.exists():
        raise UsageError(f"{path} exists; edit it, or choose another folder")
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    path.write_text(TEMPLATE, encoding="utf-8")
    (folder / ".gitignore").write_text("/outputs/\n/.hook/\n/.lab/\n", encoding="utf-8")
    line(f"{path}: edit the addresses, then: cd {folder} && runbook doctor --service api --environment production")
