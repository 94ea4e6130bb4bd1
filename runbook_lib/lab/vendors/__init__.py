"""Endpoints in the wire shapes of Grafana, Datadog, GitHub, Slack, PagerDuty and Docker Hub, in one process.

They answer from what the lab really measured (metrics, logs) and keep what they are sent. One port, one path prefix
for each vendor: ``/grafana``, ``/datadog``, ``/github``, ``/slack``, ``/pagerduty``, ``/registry``; the database
exporters are at ``/exporter/postgres/metrics`` and ``/exporter/redis/metrics``.
Started as ``python -m runbook_lib.lab.vendors --config FILE``.
"""
