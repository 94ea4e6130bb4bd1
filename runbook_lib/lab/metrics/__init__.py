"""A metrics store that answers the Prometheus HTTP API, and the launcher of a real Prometheus in its place.

Scrapes the lab's pods and exporters, keeps some hours in memory, evaluates alert rules and the subset of PromQL that
the runbooks use, with the semantics of Prometheus 3. A query outside the subset is refused, never answered wrongly.
"""
