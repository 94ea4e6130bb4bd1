"""The tape: what was kept answers again, without any network."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.clients._tape import Answer, LiveTape, Question, ReplayTape
from runbook_lib.errors import (
    SourceAnswerError,
    SourceDeniedError,
    SourceEmptyError,
    SourceError,
    SourceTimeoutError,
    SourceUnreachableError,
)
from runbook_lib.model import Evidence, Gap
from runbook_lib.queries import Query

QUERY = Query("prometheus", "latency_seconds", "Latency", "How slow.", "x", "s", needed=True)


def question(value: float = 0.95) -> Question:
    return Question(QUERY, {"quantile": value}, None, "x")


def fail(error: SourceError) -> Answer:
    raise error


def never() -> Answer:
    raise AssertionError("a replay asked the source")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SourceUnreachableError, "unreachable"),
        (SourceTimeoutError, "timeout"),
        (SourceDeniedError, "denied"),
        (SourceEmptyError, "empty"),
        (SourceAnswerError, "answer"),
    ],
)
def test_error_of_a_source_is_a_gap_of_its_kind(error, kind):
    """Each class of source error has its kind of gap, with the query's own need."""
    result = LiveTape().read(question(), lambda: fail(error("down", source="prometheus")))
    assert isinstance(result, Gap)
    assert (kind, "down", True) == (result.kind, result.reason, result.needed)


def test_other_errors_are_not_swallowed():
    """A fault of our own is not a gap of the source."""
    with pytest.raises(ZeroDivisionError):
        LiveTape().read(question(), lambda: Answer({"a": 1 // 0}))


@given(st.lists(st.tuples(st.sampled_from([0.5, 0.95, 0.99]), st.integers(0, 9)), max_size=20), st.randoms())
def test_nth_question_gets_nth_answer(asked, shuffle: random.Random):
    """However different questions are interleaved, each gets its own answers in their order."""
    kept: list[Evidence | Gap] = []
    live = LiveTape(kept.append)
    for quantile, value in asked:
        live.read(question(quantile), lambda value=value: Answer({"value": value}))
    order = [quantile for quantile, _ in asked]
    shuffle.shuffle(order)
    tape = ReplayTape(kept)
    got = [(quantile, tape.read(question(quantile), never).document["value"]) for quantile in order]
    for quantile in (0.5, 0.95, 0.99):
        assert [v for q, v in asked if q == quantile] == [v for q, v in got if q == quantile]
    assert ([], ()) == (tape.divergences, tape.unread)


def test_question_that_was_not_asked_is_a_divergence():
    """A replay cannot answer a new question: it says so and lists it."""
    tape = ReplayTape([])
    result = tape.read(question(), never)
    assert isinstance(result, Gap)
    assert "empty" == result.kind
    assert ['prometheus.latency_seconds {"quantile":0.95} was not asked in the record'] == tape.divergences


def test_gap_is_replayed_as_a_gap():
    """A source that was down is down again, with the same reason."""
    kept: list[Evidence | Gap] = []
    LiveTape(kept.append).read(question(), lambda: fail(SourceTimeoutError("no answer")))
    assert kept == [ReplayTape(kept).read(question(), never)]


def test_unread_answers_are_told():
    """What the replay did not ask for stays listed."""
    kept: list[Evidence | Gap] = []
    LiveTape(kept.append).read(question(), lambda: Answer({"value": 1}))
    assert tuple(kept) == ReplayTape(kept).unread


def test_threads_keep_every_result():
    """Results of many threads are all kept, one at a time."""
    kept: list[Evidence | Gap] = []
    tape = LiveTape(kept.append)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: tape.read(question(n), lambda: Answer({"value": n})), range(200)))
    assert list(range(200)) == sorted(result.document["value"] for result in kept)


def test_a_gap_answers_its_own_question_only():
    """Where a gap knows its parameters, another question of the same name does not get it."""
    kept: list[Evidence | Gap] = []
    LiveTape(kept.append).read(question(0.5), lambda: fail(SourceTimeoutError("no answer")))
    LiveTape(kept.append).read(question(0.95), lambda: Answer({"value": 1}))
    tape = ReplayTape([Gap.from_json(kept[0].to_json()), kept[1]])
    assert ({"value": 1}, "no answer") == (
        tape.read(question(0.95), never).document,
        tape.read(question(0.5), never).reason,
    )


def test_a_gap_of_an_older_record_answers_the_first_question_of_its_name():
    """A record from before gaps kept their parameters still replays."""
    kept: list[Evidence | Gap] = []
    LiveTape(kept.append).read(question(), lambda: fail(SourceTimeoutError("no answer")))
    old = {key: value for key, value in kept[0].to_json().items() if key != "parameters"}
    assert "no answer" == ReplayTape([Gap.from_json(old)]).read(question(), never).reason
