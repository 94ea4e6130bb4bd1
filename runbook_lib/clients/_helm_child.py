"""One Helm operation in a process of its own: a JSON request on stdin, its JSON answer on stdout.

Run as ``.../helm -m runbook_lib.clients._helm_child`` by ``_helm.Sdk``. A failure is one line on stderr and exit 1.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any


def main() -> None:
    """Do what the request says."""
    import helm_python

    request = json.load(sys.stdin)
    if request["verb"] == "version":
        answer: Any = helm_python.helm_sdk_version()
    else:
        try:
            with helm_python.Config(
                kubeconfig_path=request["kubeconfig"],
                kube_context=request["context"] or None,
                namespace=request["namespace"],
            ) as config:
                answer = _operation(request, config)
        except helm_python.HelmError as error:
            raise SystemExit("Error: " + " ".join(str(error).split())) from None
    json.dump(answer, sys.stdout)


def _operation(request: Mapping[str, Any], config: Any) -> Any:
    from helm_python import _native

    verb, release = request["verb"], request["release"]
    if verb == "history":
        return config.history(release)
    if verb == "values":
        return config.get_values(release)
    if verb == "manifest":
        return config.status(release, revision=request["revision"])["manifest"]
    options = json.dumps(request["options"])
    if verb == "rollback":
        # The public rollback() and upgrade() do not know force_conflicts.
        _native.call_status("helm_rollback", config._raw(), release, options)
        return None
    none = _native.HANDLE(0)
    values = json.dumps(request["values"])
    arguments = (config._raw(), none, none, request["chart"], release, values, options)
    return json.loads(_native.call_string("helm_upgrade", *arguments))


if __name__ == "__main__":
    main()
