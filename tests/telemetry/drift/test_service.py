"""What replicas report becomes readings, verdicts and a view."""

import json

import numpy as np
import pytest

from telemetry import conventions as names
from telemetry.drift.service import ServiceDrift
from telemetry.drift.watch import model_watches
from telemetry.series.distribution import Buckets
from telemetry.series.frame import Frame
from telemetry.series.observation import Observation

REFERENCE = (100,) * 10
EDGES = tuple(float(edge) for edge in range(9))


def observation(metric, attributes, amount, version="1"):
    said = tuple(sorted({names.MODEL_VERSION: version, **attributes}.items()))
    return Observation(metric=metric.name, attributes=said, version="1", amount=amount)


def rows(counts, name="x[0]", kind="levels", reference=REFERENCE, bounds=EDGES, version="1"):
    attributes = {
        names.WATCHED: name,
        names.WATCHED_KIND: kind,
        names.REFERENCE_COUNTS: ",".join(map(str, reference)),
    }
    return observation(names.DRIFT_ROWS, attributes, buckets(counts, bounds), version)


def buckets(counts, bounds=(0.5,)):
    held = {bin_: int(count) for bin_, count in enumerate(counts) if count}
    return Buckets(counts=held, total=0.0, bounds=bounds)


def share(metric, good, bad, reference="950,50", **segment):
    attributes = {names.REFERENCE_COUNTS: reference} if reference else {}
    for name, value in segment.items():
        attributes |= {names.SEGMENT: name, names.SEGMENT_VALUE: value}
    return observation(metric, attributes, buckets((good, bad)))


def verdicts(found, watches=None):
    said = ((watch.signal, watch.see(Frame(time_s=1.0))) for watch in watches or model_watches(found))
    return {signal: verdict for signal, verdict in said if verdict is not None}


def test_rows_as_the_reference_has_them_are_usual_and_rows_from_elsewhere_are_told_of():
    found = ServiceDrift()
    found.take(rows((20,) * 10))
    assert not verdicts(found)["drift"].unusual
    found.take(rows((0,) * 8 + (60, 60)))
    verdict = verdicts(found)["drift"]
    assert verdict.unusual
    assert verdict.sentence.startswith("x[0] has drifted in the last 120 sampled rows: PSI ")
    assert verdict.score > 1


def test_counts_of_two_replicas_add_up():
    one, both = ServiceDrift(), ServiceDrift()
    one.take(rows((4,) * 10))
    both.take(rows((2,) * 10))
    both.take(rows((2,) * 10))
    assert [each["window"] for each in one.view()["versions"][0]["distributions"]] == [
        each["window"] for each in both.view()["versions"][0]["distributions"]
    ]


def test_missing_values_are_a_matter_of_data_quality_and_named_by_column():
    found = ServiceDrift()
    found.take(rows((900, 100), "missing", "losses", (1000, 0), (0.5,)))
    found.take(observation(names.DATA_PROBLEMS, {names.WATCHED: "x[3]", names.DATA_PROBLEM: "missing"}, 100.0))
    said = verdicts(found)
    assert said["data_quality"].unusual
    assert said["data_quality"].sentence.startswith("missing rows are more in the last 1,000 sampled rows")
    assert "drift" not in said
    assert found.view()["versions"][0]["problems"] == [{"column": "x[3]", "problem": "missing", "rows": 100}]


def test_a_teacher_that_agrees_less_and_labels_that_say_wrong_raise_alarms_of_their_own():
    found = ServiceDrift()
    found.take(share(names.FIDELITY_ROWS, 70, 30))
    found.take(share(names.ACCURACY_ROWS, 60, 40))
    for region, right in (("eu", 50), ("us", 10)):
        found.take(share(names.ACCURACY_ROWS, right, 50 - right, None, region=region))
    said = verdicts(found)
    assert said["fidelity"].unusual
    assert said["fidelity"].sentence.startswith("agrees with its teacher on 70.0% of shadowed rows (")
    assert said["accuracy"].unusual
    assert said["accuracy"].sentence.endswith("expected 95.0%; worst where region is us: 20.0% of 50")


def test_where_the_manifest_says_no_accuracy_the_first_labels_are_what_later_ones_are_compared_with():
    found = ServiceDrift()
    for _ in range(5):
        found.take(share(names.ACCURACY_ROWS, 90, 10, None))
    assert "accuracy" not in verdicts(found)
    found.take(share(names.ACCURACY_ROWS, 90, 10, None))
    assert not verdicts(found)["accuracy"].unusual
    for _ in range(5):
        found.take(share(names.ACCURACY_ROWS, 50, 50, None))
    assert verdicts(found)["accuracy"].unusual


def test_a_new_version_is_watched_by_its_own_rows():
    found = ServiceDrift()
    found.take(rows((0,) * 8 + (60, 60)))
    found.take(rows((5,) * 10, version="2"))
    assert not verdicts(found)["drift"].unusual
    assert [each["version"] for each in found.view()["versions"]] == ["2", "1"]
    found.take(rows((0,) * 10, version="1"))  # its totals are sent on, though nothing is counted
    assert not verdicts(found)["drift"].unusual


def test_what_a_person_accepts_is_the_reference_from_then_on():
    found, new = ServiceDrift(), (0,) * 8 + (50, 50)
    watches = model_watches(found)
    found.take(rows(new))
    assert verdicts(found, watches)["drift"].unusual
    watches[0].relearn()
    for _ in range(20):
        found.take(rows(new))
    assert not verdicts(found, watches)["drift"].unusual


def test_everything_outlives_a_restart():
    found, after = ServiceDrift(), ServiceDrift()
    found.take(rows((0,) * 8 + (60, 60)))
    found.take(share(names.FIDELITY_ROWS, 70, 30))
    found.take(share(names.ACCURACY_ROWS, 60, 40))
    found.take(share(names.ACCURACY_ROWS, 10, 40, None, region="us"))
    after.restore(json.loads(json.dumps(found.state())))
    assert after.view() == found.view()
    assert {signal for signal, verdict in verdicts(after).items() if verdict.unusual} == {
        "drift",
        "fidelity",
        "accuracy",
    }


@pytest.mark.parametrize(
    "attributes",
    [
        {names.REFERENCE_COUNTS: "1,2,3"},
        {names.REFERENCE_COUNTS: "-1,2"},
        {names.REFERENCE_COUNTS: "0,0"},
        {names.REFERENCE_COUNTS: "9" * 40 + ",1"},
        {names.REFERENCE_COUNTS: "1,2", names.WATCHED_KIND: "<script>"},
    ],
)
def test_a_series_that_does_not_say_what_it_is_compared_with_is_counted_and_left_out(attributes):
    found = ServiceDrift()
    found.take(observation(names.DRIFT_ROWS, {names.WATCHED: "x"} | attributes, buckets((1, 1))))
    assert found.num_unread == 1
    assert found.versions == {}


def test_a_series_that_claims_more_rows_than_there_can_be_is_left_out_and_many_at_once_take_no_time():
    found = ServiceDrift()
    found.take(rows((2**63, 1) + (0,) * 8))
    assert found.num_unread == 1
    found.take(share(names.FIDELITY_ROWS, 2**39, 2**30))
    assert found.latest.fidelity.reading().rows == 2**39 + 2**30


def test_a_sender_cannot_make_more_be_watched_than_there_is_room_for():
    found, random = ServiceDrift(), np.random.default_rng(0)
    for number in range(350):
        found.take(rows((1, 1), f"x{number}", "losses", (9, 1), (0.5,), version=str(random.integers(9))))
    for number in range(350):
        found.take(rows((1, 1), f"x{number}", "losses", (9, 1), (0.5,), version="77"))
    assert len(found.versions) == 4
    assert len(found.versions["77"].bounds) == 300
