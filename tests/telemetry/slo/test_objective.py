import pytest
from pydantic import ValidationError

from telemetry.series.distribution import Buckets, Distribution
from telemetry.series.frame import Frame
from telemetry.slo.objective import Objective


def frame(num_failed: int = 0) -> Frame:
    """100 requests, 90 of them within 0.1 s, 10 in 0.1 to 0.2 s."""
    durations = Distribution()
    durations.add(Buckets(counts={0: 90, 1: 10}, total=6.0, bounds=(0.1, 0.2)))
    return Frame(time_s=0.0, num_requests=100, num_server_errors=num_failed, durations=durations)


@pytest.mark.parametrize(
    ("latency_s", "num_failed", "good"), [(None, 0, 100), (None, 4, 96), (0.1, 0, 90), (0.1, 4, 86)]
)
def test_good_requests_are_those_without_a_server_error_and_in_time(latency_s, num_failed, good):
    objective = Objective(name="answered", service="*", share=0.99, latency_s=latency_s)
    assert objective.count(frame(num_failed)) == (pytest.approx(good), 100)


def test_a_quiet_frame_counts_nothing():
    assert Objective(name="fast", service="*", share=0.99, latency_s=0.1).count(Frame(time_s=0.0)) == (0, 0)


@pytest.mark.parametrize(
    ("pattern", "service", "holds"), [("*", "a", True), ("a", "a", True), ("a", "ab", False), ("a*", "ab", True)]
)
def test_an_objective_holds_for_the_services_its_pattern_names(pattern, service, holds):
    assert Objective(name="x", service=pattern, share=0.9).holds_for(service) is holds


@pytest.mark.parametrize("share", [0.0, 1.0, 99.9])
def test_a_share_of_all_or_nothing_is_refused(share):
    with pytest.raises(ValidationError, match="share"):
        Objective(name="x", service="*", share=share)
