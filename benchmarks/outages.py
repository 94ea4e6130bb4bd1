"""How many seeded outages of a live service the open-loop probe finds, and how well it sizes them.

``python -m benchmarks.outages`` lets a real server fail 200 times for 40 ms to 1 s - half of them answer 503, half
close the connection - while the probe asks it 50 times a second. An outage counts as found when exactly one run of
failures lies where it was, and its length is off by no more than three intervals of the probe.
"""

from __future__ import annotations

import argparse
import random
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from runbook_lib.analysis.downtime import Outage, bound, outages
from runbook_lib.clients.open_loop import OpenLoop

PER_SECOND = 50.0
SHORTEST_SECONDS, LONGEST_SECONDS = 0.04, 1.0
#: How far a length may be off, seconds: a request before it, one after it, and one for the machine.
SIZED_WITHIN_SECONDS = 3 / PER_SECOND
#: Calm between two outages, seconds: longer than the longest delay that still tells them apart.
CALM_SECONDS = 0.4
GOAL = 0.99


class Service(BaseHTTPRequestHandler):
    """Answers with its version, unless ``mode`` says otherwise."""

    protocol_version = "HTTP/1.1"
    mode = ""

    def do_GET(self) -> None:
        """Answer, fail, or close the connection."""
        if type(self).mode == "close":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = b'{"version": "v2"}'
        self.send_response(503 if type(self).mode == "503" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """The service's server."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A connection that was closed on purpose is no news."""


@dataclass(frozen=True)
class Trial:
    """One outage that was made: its way, and from when to when, epoch seconds."""

    way: str
    start: float
    end: float

    def found_in(self, seen: Sequence[Outage]) -> Outage | None:
        """The one run of failures that lies where the outage was; None when there is none, or there are several."""
        near = [one for one in seen if one.start < self.end + CALM_SECONDS / 2 and one.start + one.seconds > self.start]
        return near[0] if len(near) == 1 else None


def made(trials: int, seed: int) -> list[Trial]:
    """Let the service fail, and say when it did."""
    chance, done = random.Random(seed), []
    for number in range(trials):
        time.sleep(CALM_SECONDS + chance.random() / PER_SECOND)
        way, seconds = ("503", "close")[number % 2], chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
        start = time.time()
        Service.mode = way
        time.sleep(seconds)
        Service.mode = ""
        done.append(Trial(way, start, time.time()))
    time.sleep(CALM_SECONDS)
    return done


def measured(trials: int, seed: int) -> tuple[int, list[float], list[str]]:
    """How many outages were found and sized, how far the lengths were off in seconds, and what was missed."""
    server = Server(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    probe = OpenLoop(f"http://127.0.0.1:{server.server_address[1]}/api/v1/status", {}, per_second=PER_SECOND)
    try:
        probe.start()
        given = made(trials, seed)
        seen = outages(probe.stop().records())
    finally:
        server.shutdown()
        server.server_close()
    good, errors, missed = 0, [], []
    for one in given:
        found, seconds = one.found_in(seen), one.end - one.start
        off = found.seconds - seconds if found else float("inf")
        if found:
            errors.append(off)
        if abs(off) <= SIZED_WITHIN_SECONDS:
            good += 1
        else:
            told = f"sized {found.seconds * 1000:.0f} ms" if found else "not one run of failures"
            missed.append(f"{one.way} for {seconds * 1000:.0f} ms: {told}")
    return good, errors, missed


def main() -> int:
    """Print the figures; 0 when the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    good, errors, missed = measured(given.trials, given.seed)
    errors.sort(key=abs)
    share = good / given.trials
    print(f"found and sized: {good} of {given.trials} ({share:.1%}; goal {GOAL:.0%})")
    print(f"missed: at most {bound(given.trials - good, given.trials):.2%} (95 %)")
    if errors:
        half, most = errors[len(errors) // 2], errors[-1]
        print(f"length off by {abs(half) * 1000:.0f} ms in the middle, {abs(most) * 1000:.0f} ms at most")
    for one in missed:
        print(f"  {one}")
    return 0 if share >= GOAL else 1


if __name__ == "__main__":
    raise SystemExit(main())
