"""What may wait for an answer within the latency target: work counts, not requests. 10 ms a unit of work throughout."""

import pytest

from deployments.batching import admission as module
from deployments.batching.admission import Admission, Limits
from deployments.batching.pace import Pace
from deployments.errors import OverloadedError


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def monotonic(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def admission(start_s=0.0, **limits):
    pace = Pace()
    for work in (1, 2, 4, 8):
        pace.learn(work, start_s + 0.01 * work)
    return Admission(Limits(**{"max_batch_size": 64, "latency_target_s": 0.1, **limits}), pace)


def admitted(admission, *works):
    """How many of these requests may wait, one after the other."""
    number = 0
    for work in works:
        try:
            admission.check(work, work)
        except OverloadedError:
            return number
        admission.add(work, work)
        number += 1
    return number


def test_rows_count_and_not_requests(clock):
    """Fifty rows take half a second: behind one such request, a target of 0.1 s lets none wait."""
    small, large = admission(), admission()
    assert admitted(small, *[1] * 20) == 5
    assert admitted(large, *[50] * 20) == 1  # an idle model takes what comes
    with pytest.raises(OverloadedError, match=r"leave this one no time within 0\.1 s"):
        large.check()


def test_the_length_of_padded_sequences_counts(clock):
    waiting = admission()
    waiting.add(1, 2)
    waiting.check(1, 3)
    with pytest.raises(OverloadedError):
        waiting.check(1, 40)


def test_a_long_call_at_hand_counts_as_long_as_it_will_go_on(clock):
    busy = admission()
    busy.begin(50)
    with pytest.raises(OverloadedError) as caught:
        busy.check(1, 1)
    assert caught.value.retry_after_s == 1
    clock.now_s += 0.45
    busy.check(1, 1)


def test_a_usual_call_at_hand_lets_the_next_one_gather(clock):
    busy = admission(latency_target_s=0.012)
    busy.begin(1)
    assert admitted(busy, 1, 1) == 1


def test_an_idle_model_takes_a_request_that_alone_takes_longer_than_the_target(clock):
    idle = admission()
    idle.check(50, 50)
    idle.begin(50)
    idle.rest()
    idle.check(50, 50)


def test_without_a_target_the_number_of_requests_alone_counts():
    free = admission(latency_target_s=None, max_queue_size=3)
    assert admitted(free, 1000, 1000, 1000, 1) == 3
    with pytest.raises(OverloadedError, match="3 requests wait already"):
        free.check()


def test_what_has_left_counts_no_more(clock):
    waiting = admission()
    assert admitted(waiting, *[1] * 20) == 5
    waiting.remove(1, 1)
    assert admitted(waiting, 1, 1) == 1
