"""``runbook roles``: what the runbooks must be allowed in a cluster, as objects to apply."""

from __future__ import annotations

from typing import Annotated

import typer

from runbook_lib.cli.output import line

app = typer.Typer(rich_markup_mode=None)


@app.command("roles")
def roles(
    names: Annotated[list[str] | None, typer.Argument(help="reader, actor, deployer; default: all of them.")] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Default: the namespace of the catalogue's first service.")
    ] = "",
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", help="Kind of the release's chart as resource.group; default: those of the lab's chart."
        ),
    ] = None,
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", help="What runbooks of your own list as well, as resource.group, such as events."),
    ] = None,
) -> None:
    """Service accounts and roles with exactly the verbs that the runbooks use: runbook roles | kubectl apply -f -"""
    import yaml

    from runbook_lib import catalog
    from runbook_lib.model import rights

    if not namespace:
        namespace = str(next(iter(catalog.load().services.values())).workload.get("namespace", "default"))
    chosen = names or list(rights.ROLES)
    kinds = kinds or list(rights.CHART_KINDS)
    objects = [one for name in chosen for one in rights.manifests(name, namespace, kinds, lists or ())]
    line(yaml.dump_all(objects, Dumper=_plain(), sort_keys=False).rstrip())


def _plain() -> type:
    """A YAML writer without anchors: every object stands for itself."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    return Plain
