"""Parquet files that others read, while the collector runs."""

import time

import numpy as np
import pytest

from telemetry.__main__ import main
from telemetry.storage.export import export
from telemetry.storage.layout import Layout
from telemetry.storage.storage import Storage
from tests.telemetry.storage.test_requests import of_logs, of_spans
from tests.telemetry.storage.test_storage import key

duckdb = pytest.importorskip("duckdb")


@pytest.fixture
def running(tmp_path):
    """A storage that is in use, with an hour of points by the second until now."""
    storage = Storage(tmp_path / "data")
    now_s = time.time()
    ids = np.array([storage.series_id(key(instance=f"r{number}", rank=number), "gauge") for number in range(3)])
    for index in range(3600):
        storage.append(ids, now_s - 3600 + index, ids + float(index))
    histogram = storage.series_id(key("latency"), "histogram")
    layout = Layout.explicit((0.1, 1.0))
    storage.append_buckets(np.array([histogram]), now_s - 60, layout, np.array([[1, 2, 3]]), np.array([4.5]))
    spans, logs = of_spans(*range(100), at_s=now_s - 120), of_logs("loads", "failed", at_s=now_s - 60)
    storage.add_spans(spans, spans.SerializeToString(), now_s - 100)
    storage.add_logs(logs, logs.SerializeToString(), now_s - 60)
    storage.checkpoint(now_s)
    assert storage.flush()
    yield storage
    storage.close()


def test_duckdb_reads_what_was_exported_beside_a_running_collector(running, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", "--out", str(out), "--since", "2h", "--data-dir", str(tmp_path / "data")]) == 0
    assert "points.parquet: 10800 rows" in capsys.readouterr().out

    def ask(statement):
        return duckdb.sql(statement.replace("FROM ", f"FROM '{out}/").replace(".parquet", ".parquet'")).fetchall()

    assert ask("SELECT count(*), min(value), max(value) - min(value) FROM points.parquet WHERE instance = 'r1'") == [
        (3600, 1.0, 3599.0)
    ]
    assert ask("SELECT attributes['rank'], count(*) FROM points.parquet GROUP BY 1 ORDER BY 1")[2] == ("2", 3600)
    assert ask("SELECT counts, low, high, sum FROM histograms.parquet") == [
        ([1, 2, 3], [0.0, 0.1, 1.0], [0.1, 1.0, 1.0], 4.5)
    ]
    assert ask("SELECT name, count(*) FROM spans.parquet GROUP BY 1 ORDER BY 1") == [
        ("POST /infer", 100),
        ("compute", 100),
    ]
    assert ask("SELECT body FROM logs.parquet ORDER BY time") == [("loads",), ("failed",)]
    (age_s,) = ask("SELECT epoch(now()) - epoch(max(time)) FROM points.parquet")[0]
    assert 0 <= age_s < 60


def test_a_range_leaves_out_the_rest(running, tmp_path):
    now_s = time.time()
    assert export(running, tmp_path / "out", now_s - 600, now_s - 300)["points"] == pytest.approx(900, abs=6)


def test_what_cannot_be_exported_is_said_with_what_was_got(tmp_path, capsys):
    assert main(["export", "--out", str(tmp_path), "--since", "week", "--data-dir", str(tmp_path)]) == 2
    assert "since must be a number and m, h, d or w, such as 7d, got 'week'" in capsys.readouterr().err
    assert main(["export", "--out", str(tmp_path), "--data-dir", str(tmp_path / "nothing")]) == 2
    assert "telemetry.sqlite must be a collector's file, got: unable to open" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()
