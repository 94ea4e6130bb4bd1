"""Live pictures and the approval card, in a real kernel, with this test as the front end that shows them."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.run import kernels

UPDATE_BYTES = 3 * 1024
SETUP = """
import asyncio, time
from runbook_lib.model import Environment, Evidence, Objective, Plan, Series, Window
from runbook_lib.model.times import utc_now
from runbook_lib.run import ask, live

def reading():
    now = utc_now()
    end = now.timestamp()
    line = Series.of([(end - 600 + 2 * i, 0.1 + i % 7 / 10) for i in range(300)])
    window = Window.last(10, now)
    return Evidence("prometheus", "latency_seconds", "Latency", "s", "q", {}, window, now, (line,), reader=reading)

plan = Plan("scale", "api", "lab", "production/deployment/api", {"replicas": 3}, {"replicas": 5}, {}, "five pods",
            "scale back", "kubectl scale", destructive=False)
place = Environment("lab", "", ("scale",), {"default": "one"}, {}, known_by={"one": ("card",)})
objective = Objective("latency", "latency", 0.95, threshold_seconds=0.2, window_days=30)
asked = ask.Asked(plan, place, "ada", "run-1", 60, reading(), objective, ())
ask.READY_SECONDS = 30
decided = []

def decide(word, typed):
    decided.append((word, typed))
    return ask.Decision(plan, word, ask.sentence(word, typed, asked), shown=True)

def question():
    return ask.Question(asked, decide)
"""


class FrontEnd:
    """What JupyterLab does for a kernel: runs cells, keeps displays, and answers prompts and widgets."""

    def __init__(self, client: Any, subshell: str) -> None:
        self.client, self._subshell = client, subshell
        self.displays: dict[str, list[dict[str, Any]]] = {}
        self.cards: list[str] = []
        self.errors: list[str] = []
        self._busy = ""

    def start(self, code: str) -> None:
        """Run a cell; the answers come with ``until``."""
        self._busy = self.client.execute(code, allow_stdin=True)

    def run(self, code: str) -> None:
        """Run a cell to its end."""
        self.start(code)
        assert self.until(lambda: not self._busy), "the cell did not end"
        assert [] == self.errors

    def until(self, holds: Any, seconds: float = 60) -> bool:
        """Take messages until something holds; whether it did."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            try:
                self._take(self.client.get_iopub_msg(timeout=0.2))
            except queue.Empty:
                continue
        return True

    @property
    def idle(self) -> bool:
        """Whether the cell ended."""
        return not self._busy

    def tell(self, **content: Any) -> None:
        """Send a card's message, as its script does."""
        data = {"comm_id": self.cards[-1], "data": {"method": "custom", "content": content}}
        message = self.client.session.msg("comm_msg", data)
        if self._subshell:
            message["header"]["subshell_id"] = self._subshell
        self.client.shell_channel.send(message)

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if (
            kind == "status"
            and content["execution_state"] == "idle"
            and message["parent_header"].get("msg_id") == self._busy
        ):
            self._busy = ""
        elif kind in {"display_data", "update_display_data"}:
            self.displays.setdefault(content["transient"].get("display_id", ""), []).append(content["data"])
        elif kind == "error":
            self.errors.append(f"{content['ename']}: {content['evalue']}")
        elif kind == "comm_open" and content["data"].get("state", {}).get("plan_html"):
            self.cards.append(content["comm_id"])


@pytest.fixture(scope="module", params=["installed", *kernels.OTHERS])
def kernel(request: pytest.FixtureRequest) -> Iterator[tuple[Any, str]]:
    """A client of a kernel of one generation, and the subshell for its widgets, as JupyterLab makes one."""
    pytest.importorskip("anywidget")
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env={**os.environ, **kernels.environment(request.param)})
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield client, subshell(client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def subshell(client: Any) -> str:
    """The id of a new subshell; empty on a kernel that has none."""
    told = client.kernel_info(reply=True, timeout=60)["content"]
    if "kernel subshells" not in told.get("supported_features", ()):
        return ""
    client.control_channel.send(client.session.msg("create_subshell_request", {}))
    return str(client.get_control_msg(timeout=60)["content"]["subshell_id"])


@pytest.fixture
def front(kernel: tuple[Any, str]) -> FrontEnd:
    end = FrontEnd(*kernel)
    end.run(SETUP)
    return end


def test_watched_number_is_redrawn_small_and_kept_whole(front: FrontEnd) -> None:
    """One display is updated many times, each in at most 3 KB, and ends as a chart that every viewer shows."""
    front.run("watch = live.Watch(reading(), objective, 600, live.Reader(reading()))")
    (pictures,) = front.displays.values()
    assert front.until(lambda: len(pictures) >= 6)
    assert UPDATE_BYTES > max(len(one["text/html"]) + len(one["text/plain"]) for one in pictures)
    front.run("watch.stop()")
    assert {"image/png", "text/plain", "application/vnd.plotly.v1+json"} == set(pictures[-1])
    kept = len(pictures)
    front.run("time.sleep(0.6)")
    assert kept == len(pictures)


def test_number_that_goes_along_ends_as_it_was_shown(front: FrontEnd) -> None:
    """A small picture stays small: what it accompanies is the chart that a saved notebook keeps."""
    front.run("watch = live.Watch(reading(), None, 600, live.Reader(reading()), small=True)")
    (pictures,) = front.displays.values()
    front.run("watch.stop()")
    assert {"text/html", "text/plain"} == set(pictures[-1])


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ({"approved": True, "typed": "api"}, "approved"),
        ({"approved": True, "typed": "apo"}, "declined"),
        ({"approved": True, "typed": "api", "plan": "sha256:other"}, "declined"),
        ({"approved": False, "typed": ""}, "declined"),
    ],
    ids=["right-name", "wrong-name", "another-plan", "declined"],
)
def test_decision_is_checked_again_by_the_kernel(front: FrontEnd, message: dict[str, Any], word: str) -> None:
    """Whatever a browser sends, only the right name for exactly this plan approves; a plain record takes its place."""
    front.run("digest = plan.digest; display({'text/plain': digest}, raw=True, display_id='digest')")
    digest = front.displays["digest"][0]["text/plain"]
    front.start("decision = await question()")
    assert front.until(lambda: front.cards)
    front.tell(kind="ready")
    front.tell(**{"kind": "decision", "plan": digest, **message})
    assert front.until(lambda: front.idle)
    shown = [pictures[-1] for name, pictures in front.displays.items() if name != "digest"][-1]
    assert ([], {"text/html", "text/markdown", "text/plain"}) == (front.errors, set(shown))
    assert shown["text/plain"].startswith(word.upper())


@pytest.mark.parametrize(("typed", "word"), [("api", "APPROVED"), ("no", "DECLINED")], ids=["right-name", "wrong-name"])
def test_front_end_without_widgets_is_asked_by_a_prompt(front: FrontEnd, typed: str, word: str) -> None:
    """Where no card appears the same question is a prompt."""
    front.run("ask.READY_SECONDS = 0")
    front.start("decision = await question()")
    prompt = front.client.get_stdin_msg(timeout=60)
    assert "type api to approve scale" in prompt["content"]["prompt"]
    front.client.input(typed)
    assert front.until(lambda: front.idle)
    front.run("display({'text/plain': str(decision)}, raw=True, display_id='said')")
    assert front.displays["said"][0]["text/plain"].startswith(word)


def test_later_cell_may_use_a_decision_that_no_cell_waited_for(front: FrontEnd) -> None:
    """The question of a cell that does not wait is answered between cells: the gate of two cells."""
    front.run("later = question()")
    assert front.until(lambda: front.cards)
    front.run("digest = plan.digest; display({'text/plain': digest}, raw=True, display_id='digest')")
    front.tell(kind="decision", plan=front.displays["digest"][0]["text/plain"], approved=True, typed="api")
    front.run("await asyncio.sleep(0.5); display({'text/plain': str(decided)}, raw=True, display_id='said')")
    assert "[('approved', 'api')]" == front.displays["said"][0]["text/plain"]


def test_unanswered_question_is_declined(front: FrontEnd) -> None:
    """A question has a deadline; nothing is approved by silence."""
    front.run("import dataclasses; asked = dataclasses.replace(asked, seconds=0.3)")
    front.run("ask.READY_SECONDS = 60; decision = await question()")
    front.run("display({'text/plain': decision.word}, raw=True, display_id='said')")
    assert "expired" == front.displays["said"][0]["text/plain"]
