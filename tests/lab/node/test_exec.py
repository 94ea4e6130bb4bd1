"""Who may ask for a command in a pod."""

from __future__ import annotations

import httpx

from .conftest import PROBE, Cluster, until


def test_command_is_for_the_api_server_alone(cluster: Cluster) -> None:
    """Whoever reaches the node's port without the API server's certificate runs nothing in a pod."""
    cluster.run("quiet", readinessProbe=PROBE)
    until(lambda: cluster.container("quiet").get("ready"))
    place = f"http://127.0.0.1:{cluster.port}/exec/{cluster.namespace}/quiet/main?command=touch&command=ran&output=1"
    asked = {"Upgrade": "SPDY/3.1", "Connection": "Upgrade", "X-Stream-Protocol-Version": "v4.channel.k8s.io"}
    answer = httpx.post(place, headers=asked, timeout=10)
    assert (403, True) == (answer.status_code, "client certificate" in answer.json()["message"])
    forwarded = httpx.post(f"http://127.0.0.1:{cluster.port}/portForward/{cluster.namespace}/quiet", timeout=10)
    assert 403 == forwarded.status_code
