"""The vendors' own libraries get from the lab's endpoints what they get from their vendors.

They are no dependency of anything else: pip install datadog-api-client slack_sdk pagerduty.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_lib.lab.cluster import write_private
from runbook_lib.lab.controlplane.listener import context_in
from runbook_lib.lab.metrics import remote_write
from runbook_lib.lab.metrics.labels import make_labels
from runbook_lib.lab.metrics.server import MetricsServer

from .conftest import Vendors, start_vendors

CHANNEL = "#api-alerts"


@pytest.fixture
def slack(vendors: Vendors) -> Any:
    """slack_sdk's client of the Web API."""
    sdk = pytest.importorskip("slack_sdk", reason="no slack_sdk: pip install slack_sdk")
    return sdk.WebClient(token=vendors.secrets["slack_token"], base_url=f"{vendors.client.base_url}/slack/api/")


def test_slack_posts_changes_and_finds_a_message(slack: Any) -> None:
    """A message is posted, answered in its thread, changed, and found again with its link."""
    posted = slack.chat_postMessage(channel=CHANNEL, text="p95 is high")
    channel, stamp = posted["channel"], posted["ts"]
    slack.chat_postMessage(channel=channel, text="scaled to 5", thread_ts=stamp)
    slack.chat_update(channel=channel, ts=stamp, text="p95 was high")
    thread = slack.conversations_replies(channel=channel, ts=stamp)["messages"]
    assert ["p95 was high", "scaled to 5"] == [message["text"] for message in thread]
    newest = slack.conversations_history(channel=channel)["messages"][0]
    assert stamp == newest["ts"]
    assert stamp.replace(".", "") in slack.chat_getPermalink(channel=channel, message_ts=stamp)["permalink"]


def test_slack_refusals_are_its_librarys_errors(vendors: Vendors, slack: Any) -> None:
    """A wrong token and a missing channel are errors with Slack's own words."""
    errors = pytest.importorskip("slack_sdk.errors", reason="no slack_sdk: pip install slack_sdk")
    with pytest.raises(errors.SlackApiError, match="channel_not_found"):
        slack.chat_postMessage(channel="#nowhere", text="hello")
    slack.token = "xoxb-wrong"
    with pytest.raises(errors.SlackApiError, match="invalid_auth"):
        slack.auth_test()


def test_slack_rate_limit_is_waited_for(vendors: Vendors, slack: Any) -> None:
    """The library's own handler reads Retry-After, waits, and sends again."""
    handlers = pytest.importorskip("slack_sdk.http_retry.builtin_handlers", reason="no slack_sdk")
    slack.retry_handlers.append(handlers.RateLimitErrorRetryHandler(max_retry_count=1))
    vendors.client.put("/slack/lab", json={"rate_limit_next": 1, "retry_after_seconds": 1})
    began = time.monotonic()
    assert slack.auth_test()["ok"]
    assert time.monotonic() - began >= 1


def test_slack_webhook_takes_a_message(vendors: Vendors) -> None:
    """The webhook's client is told ok, and another address no_service."""
    hooks = pytest.importorskip("slack_sdk.webhook", reason="no slack_sdk: pip install slack_sdk")
    base = f"{vendors.client.base_url}/slack/"
    assert "ok" == hooks.WebhookClient(base + vendors.secrets["slack_webhook_path"]).send(text="hello").body
    answer = hooks.WebhookClient(f"{base}services/T0/B0/none").send(text="hello")
    assert (404, "no_service") == (answer.status_code, answer.body)


class _Front(socketserver.ThreadingTCPServer):
    """TLS before the vendors process: pagerduty speaks to nothing else."""

    daemon_threads = True

    def __init__(self, target: int, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Pipe)
        self.target = target
        self.tls, self.certificate = context_in(folder, write_private)


class _Pipe(socketserver.BaseRequestHandler):
    server: _Front

    def handle(self) -> None:
        """Hand on what comes, both ways, until one side ends."""
        with (
            contextlib.suppress(OSError),
            self.server.tls.wrap_socket(self.request, server_side=True) as near,
            socket.create_connection(("127.0.0.1", self.server.target)) as far,
        ):
            threading.Thread(target=_copy, args=(far, near), daemon=True).start()
            _copy(near, far)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def secure(vendors: Vendors, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ssl.SSLContext]]:
    """PagerDuty's address over TLS, and what trusts it."""
    front = _Front(vendors.client.base_url.port or 0, tmp_path_factory.mktemp("front"))
    threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"https://127.0.0.1:{front.server_address[1]}/pagerduty", ssl.create_default_context(cadata=front.certificate)
    front.shutdown()
    front.server_close()


@pytest.fixture
def pager(vendors: Vendors, secure: tuple[str, ssl.SSLContext]) -> Iterator[tuple[Any, Any]]:
    """pagerduty's clients of the Events API and of the REST API."""
    sdk = pytest.importorskip("pagerduty", reason="no pagerduty: pip install pagerduty")
    (base, trust), secrets = secure, vendors.secrets
    events = sdk.EventsApiV2Client(secrets["pagerduty_routing_key"], base_url=base, verify=trust)
    rest = sdk.RestApiV2Client(secrets["pagerduty_token"], default_from="ada@example.com", base_url=base, verify=trust)
    yield events, rest
    events.close()
    rest.close()


def test_pagerduty_incident_from_trigger_to_resolve(pager: tuple[Any, Any]) -> None:
    """Two triggers of one key are one incident; a note is kept on it; it is acknowledged and resolved."""
    events, rest = pager
    keys = {events.trigger("p95 is high", "api", dedup_key="sdk-high-latency", severity="critical") for _ in range(2)}
    assert {"sdk-high-latency"} == keys
    (incident,) = rest.list_all("incidents", params={"incident_key": "sdk-high-latency"})
    assert ("triggered", "high") == (incident["status"], incident["urgency"])
    rest.rpost(f"incidents/{incident['id']}/notes", json={"content": "scaled to 5"})
    assert ["scaled to 5"] == [note["content"] for note in rest.rget(f"incidents/{incident['id']}/notes")]
    events.acknowledge("sdk-high-latency")
    assert "acknowledged" == rest.rget(f"incidents/{incident['id']}")["status"]
    changed = rest.rput(f"incidents/{incident['id']}", json={"type": "incident_reference", "status": "resolved"})
    assert "resolved" == changed["status"]


def test_pagerduty_lists_services_and_on_calls(pager: tuple[Any, Any]) -> None:
    """The library's own paging reads the lists to their end."""
    _, rest = pager
    assert ["API Service"] == [service["name"] for service in rest.iter_all("services")]
    assert ["Platform on-call"] == [one["user"]["summary"] for one in rest.iter_all("oncalls")]


def test_pagerduty_refusals_are_its_librarys_errors(secure: tuple[str, ssl.SSLContext]) -> None:
    """A wrong token and a wrong routing key are errors with the status."""
    sdk = pytest.importorskip("pagerduty", reason="no pagerduty: pip install pagerduty")
    base, trust = secure
    with sdk.RestApiV2Client("wrong", base_url=base, verify=trust) as rest, pytest.raises(sdk.Error, match="401"):
        rest.rget("services")
    with sdk.EventsApiV2Client("wrong", base_url=base, verify=trust) as events, pytest.raises(sdk.Error, match="400"):
        events.trigger("p95 is high", "api")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Datadog's address and keys, over a metrics store where Redis has had 7 clients, and over a pod's log."""
    folder = tmp_path_factory.mktemp("measured")
    config = folder / "metrics.json"
    config.write_text(json.dumps({"scrape_interval_seconds": 60}))
    store = MetricsServer(config)
    store.start()
    log = folder / "pods" / "production_api-1_0000-1" / "api"
    log.mkdir(parents=True)
    line = {"time": (datetime.now(UTC) - timedelta(minutes=1)).isoformat(), "level": "ERROR", "message": "timed out"}
    (log / "0.log").write_text(json.dumps(line) + "\n")
    address = f"http://127.0.0.1:{store.port}"
    process, port = start_vendors(folder, log_directories=[str(folder / "pods")], metrics_url=address)
    try:
        now = int(time.time()) * 1000
        points = [(now - seconds * 1000, 7.0) for seconds in range(600, -1, -15)]
        body = remote_write.encode([(make_labels({"__name__": "redis_connected_clients"}), points)])
        httpx.post(f"{address}/api/v1/write", content=body, headers=remote_write.HEADERS).raise_for_status()
        keys = {name: (folder / "secrets" / f"datadog_{name}").read_text() for name in ("api_key", "app_key")}
        yield f"http://127.0.0.1:{port}/datadog", keys
    finally:
        process.stop()
        store.stop()


@pytest.fixture
def datadog(request: pytest.FixtureRequest) -> Iterator[Any]:
    """datadog-api-client's connection to the lab."""
    sdk = pytest.importorskip("datadog_api_client", reason="no datadog-api-client: pip install datadog-api-client")
    address, keys = request.getfixturevalue("measured")
    settings = sdk.Configuration(host=address)
    settings.api_key = {"apiKeyAuth": keys["api_key"], "appKeyAuth": keys["app_key"]}
    with sdk.ApiClient(settings) as client:
        yield client


def test_datadog_reads_a_metric_with_its_unit(datadog: Any) -> None:
    """The library's models accept the answer to a query, with every point's value and the unit."""
    api = pytest.importorskip("datadog_api_client.v1.api.metrics_api").MetricsApi(datadog)
    now = int(time.time())
    (series,) = api.query_metrics(_from=now - 300, to=now, query="avg:redis.net.clients{*}")["series"]
    assert {7.0} == {point.value[1] for point in series["pointlist"]}
    assert "connection" == series["unit"][0]["name"]


def test_datadog_keeps_an_event(datadog: Any) -> None:
    """An event that is sent is listed again with its tags."""
    module = pytest.importorskip("datadog_api_client.v1.api.events_api")
    model = pytest.importorskip("datadog_api_client.v1.model.event_create_request")
    api, now = module.EventsApi(datadog), int(time.time())
    sent = model.EventCreateRequest(title="deployed v2", text="by ada", tags=["service:api"])
    assert "deployed v2" == api.create_event(body=sent)["event"]["title"]
    (found,) = api.list_events(start=now - 60, end=now + 60, tags="service:api")["events"]
    assert ("deployed v2", ["service:api"]) == (found["title"], found["tags"])


def test_datadog_finds_a_line_of_a_log(datadog: Any) -> None:
    """A search over the pods' logs gives the line with its status, through the library's own paging."""
    module = pytest.importorskip("datadog_api_client.v2.api.logs_api")
    request = pytest.importorskip("datadog_api_client.v2.model.logs_list_request").LogsListRequest
    query = pytest.importorskip("datadog_api_client.v2.model.logs_query_filter").LogsQueryFilter
    body = request(filter=query(query="status:error", _from="now-15m", to="now"))
    (found,) = module.LogsApi(datadog).list_logs_with_pagination(body=body)
    assert ("error", "timed out") == (found["attributes"]["status"], found["attributes"]["message"])


def test_datadog_refuses_a_wrong_key(datadog: Any) -> None:
    """A wrong key is the library's forbidden error; a right one is valid."""
    errors = pytest.importorskip("datadog_api_client.exceptions")
    api = pytest.importorskip("datadog_api_client.v1.api.authentication_api").AuthenticationApi(datadog)
    assert api.validate()["valid"]
    datadog.configuration.api_key["apiKeyAuth"] = "wrong"
    with pytest.raises(errors.ForbiddenException):
        api.validate()
