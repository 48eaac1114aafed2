"""The report of a range, out of storage."""

import time

import numpy as np
import pytest

from telemetry import __main__ as telemetry
from telemetry import conventions as names
from telemetry.drift import bars, history
from telemetry.drift.report import render
from telemetry.receivers.points import Scope
from telemetry.series.stream import Key
from telemetry.storage.layout import Layout
from telemetry.storage.storage import Storage

NOW_S = 1_800_000_000.0
HOUR_S = 3600.0
EVEN = (100,) * 5
EDGES = (1.0, 2.0, 3.0, 4.0)


def key(metric, attributes, instance="r1", version="1"):
    said = tuple(sorted({names.MODEL_VERSION: version, **attributes}.items()))
    return Key("sentiment", instance, Scope("trimtab"), metric.name, said)


def distribution(name, reference=EVEN, kind="levels"):
    return {names.WATCHED: name, names.WATCHED_KIND: kind, names.REFERENCE_COUNTS: ",".join(map(str, reference))}


def put(storage, metric, attributes, hourly, bounds=EDGES, *, end_s=NOW_S, **of):
    """Totals that grow by `hourly` counts in each of the last hours, from nothing."""
    number = storage.series_id(key(metric, attributes, **of), "histogram")
    totals = np.cumsum([[0] * len(hourly[0]), *hourly], axis=0)
    for at, total in enumerate(totals):
        time_s = end_s - (len(hourly) - at) * HOUR_S
        storage.append_buckets(
            np.array([number]), time_s, Layout.explicit(bounds), total[None].astype(np.int64), np.zeros(1)
        )


@pytest.fixture
def storage():
    return Storage(None)


def read(storage, hours=24.0):
    return history.read(storage, "sentiment", NOW_S - hours * HOUR_S, NOW_S)


def test_replicas_add_up_and_rows_before_the_range_do_not_count(storage):
    put(storage, names.DRIFT_ROWS, distribution("x"), [(500,) * 5, (1, 2, 3, 4, 5)])
    put(storage, names.DRIFT_ROWS, distribution("x"), [(0,) * 5, (1,) * 5], instance="r2")
    (counted,) = read(storage, hours=1.0).counted
    assert counted.total.tolist() == [2, 3, 4, 5, 6]


def test_what_is_apart_is_told_first_and_what_differs_by_chance_alone_is_not(storage):
    random = np.random.default_rng(0)
    put(storage, names.DRIFT_ROWS, distribution("usual"), [random.multinomial(200, [0.2] * 5) for _ in range(6)])
    put(storage, names.DRIFT_ROWS, distribution("moved"), [(0, 0, 20, 80, 100)] * 6)
    page = render(read(storage))
    assert "1 of 2" in page
    assert page.index(">moved<") < page.index(">usual<")
    assert "as before" in page
    assert ">apart<" in page


def test_fidelity_accuracy_problems_and_failing_segments_are_told(storage):
    reference = {names.REFERENCE_COUNTS: "950,50"}
    put(storage, names.FIDELITY_ROWS, reference, [(190, 10)] * 5, (0.5,))
    put(storage, names.ACCURACY_ROWS, reference, [(140, 60)] * 5, (0.5,))
    for region, counts in (("eu", (120, 30)), ("us", (20, 30))):
        put(storage, names.ACCURACY_ROWS, {names.SEGMENT: "region", names.SEGMENT_VALUE: region}, [counts] * 5, (0.5,))
    problem = storage.series_id(
        key(names.DATA_PROBLEMS, {names.WATCHED: "age", names.DATA_PROBLEM: "out_of_range"}), "counter"
    )
    for at, total in enumerate((0.0, 7.0)):
        storage.append(np.array([problem]), NOW_S - (2 - at) * HOUR_S, np.array([total]))
    page = render(read(storage))
    for told in ("95.0%", "70.0%", "95.0% when it was made", "out of range", "<td>7</td>", 'bad">us<'):
        assert told in page
    assert "Drift is not watched" in page


def test_a_page_loads_nothing_and_says_hostile_names_as_text(storage):
    put(storage, names.DRIFT_ROWS, distribution("<script>alert(1)</script>"), [(40,) * 5])
    page = render(read(storage))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page


def test_a_range_without_rows_says_so(storage):
    assert "No rows of this model were counted in this time." in render(read(storage))


def test_a_line_has_gaps_where_nothing_was_counted():
    assert bars.line([1.0, None, 2.0, 3.0]).count("<polyline") == 2
    assert bars.line([None]) == ""


def test_the_command_writes_the_page_of_a_collectors_folder(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "kept"
    storage = Storage(folder)
    put(storage, names.DRIFT_ROWS, distribution("x"), [(9,) * 5, (40,) * 5], end_s=time.time())
    storage.checkpoint(time.time())
    storage.close()
    settings = tmp_path / "collector.yaml"
    settings.write_text(f"data_dir: {folder}\n")
    out = tmp_path / "out.html"
    asked = ["report", "sentiment", "--since", "1d", "--out", str(out), "--collector", str(settings)]
    assert telemetry.main(asked) == 0
    assert ">x<" in out.read_text()
    assert telemetry.main(["report", "nobody", *asked[2:]]) == 2
    assert "MODEL must be one of sentiment, got 'nobody'" in capsys.readouterr().err


def test_without_a_collectors_folder_the_command_says_what_it_looked_for(tmp_path, capsys):
    settings = tmp_path / "collector.yaml"
    settings.write_text(f"data_dir: {tmp_path}\n")
    assert telemetry.main(["report", "m", "--collector", str(settings)]) == 2
    assert "data_dir must be the folder of a collector that has run" in capsys.readouterr().err
