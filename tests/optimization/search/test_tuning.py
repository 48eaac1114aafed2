import os
import time

import pytest
import ray

from optimization.search import tuning
from optimization.search.tuning import Ended, Report

SHORTFALLS = (0.0, 0.5, 0.0, 0.4, 0.3, 0.2, 0.0, 0.6)


def attempt(number: int, report: Report) -> str:
    if number == 4:
        raise ValueError("no such layer")
    if number == 5:
        os._exit(1)  # as where memory runs out
    for epoch in range(1, 11):
        time.sleep(0.01)
        report(epoch / 10, SHORTFALLS[number] + 0.1 / epoch if SHORTFALLS[number] else 0.0)
    return f"model {number}"


@pytest.mark.ray
@pytest.mark.slow
def test_the_hopeless_are_stopped_early_and_what_is_good_enough_never(ray_cluster: None) -> None:
    ended: dict[int, Ended[str]] = {}
    tuning.run(attempt, range(len(SHORTFALLS)), ended.__setitem__)
    assert set(ended) == set(range(len(SHORTFALLS)))
    for number, each in ended.items():
        if SHORTFALLS[number] == 0:
            assert each.outcome == f"model {number}"
    assert ended[4].problem == "no such layer"
    assert ended[5].problem
    stopped = [each.stopped_at for each in ended.values() if each.stopped_at is not None]
    assert len(stopped) >= 2
    assert set(stopped) <= {0.2, 0.6}


@pytest.mark.ray
@pytest.mark.long
def test_a_search_that_is_stopped_leaves_no_cpu_reserved(ray_cluster: None) -> None:
    def interrupt(number: int, ended: Ended[str]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuning.run(attempt, (0, 2), interrupt)
    ends_s = time.monotonic() + 30
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        assert time.monotonic() < ends_s
        time.sleep(0.1)
