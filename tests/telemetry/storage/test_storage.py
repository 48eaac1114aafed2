"""Storage: what was appended is read, from memory and from disk, over restarts, hours, months and damage."""

import sqlite3

import numpy as np
import pytest

from telemetry.receivers.points import Scope
from telemetry.series.distribution import Buckets
from telemetry.series.stream import Key
from telemetry.storage.config import StorageConfig
from telemetry.storage.layout import Layout
from telemetry.storage.storage import FILE, MAX_WAITING, Storage

START_S = 1_800_000_000.0 - 1_800_000_000.0 % 3600
HOUR_S = 3600.0


def key(metric="cpu", instance="replica-1", service="digits", **attributes):
    return Key(service, instance, Scope("test"), metric, tuple(sorted(attributes.items())))


@pytest.fixture(params=["memory", "disk"])
def folder(request, tmp_path):
    return None if request.param == "memory" else tmp_path


@pytest.fixture
def opened():
    """Opens storages and closes them."""
    made = []

    def open_(folder, **config):
        made.append(Storage(folder, StorageConfig(**config)))
        return made[-1]

    yield open_
    for each in made:
        each.close()


def fill(storage, ids, seconds, *, from_s=START_S, every_s=1.0, checkpoint_every=30):
    """Point n of series i is i + n / 1000."""
    for index in range(seconds):
        now_s = from_s + index * every_s
        storage.append(ids, now_s, ids + index / 1000)
        if index % checkpoint_every == checkpoint_every - 1:
            storage.checkpoint(now_s)
    assert storage.flush()


def test_a_point_is_read_at_once_and_after_each_checkpoint(folder, opened):
    storage = opened(folder)
    ids = np.array([storage.series_id(key(instance=f"r{number}"), "gauge") for number in range(3)])
    for index in range(100):
        storage.append(ids, START_S + index, ids + index / 1000)
        if index % 30 == 0:
            storage.checkpoint(START_S + index)
        read = storage.read_many(ids, START_S, START_S + 1000)
        for number in ids.tolist():
            assert read[number].times.tolist() == [START_S + each for each in range(index + 1)]
            assert read[number].values.tolist() == [number + each / 1000 for each in range(index + 1)]
    part = storage.read(int(ids[1]), START_S + 10, START_S + 12)
    assert part.times.tolist() == [START_S + 10, START_S + 11, START_S + 12]
    assert storage.read(10**6, 0, 2e10).times.tolist() == []


def test_series_keep_their_numbers_and_points_over_a_restart(tmp_path, opened):
    storage = opened(tmp_path)
    keys = [key(metric, f"r{number}", rank=number) for metric in ("cpu", "memory") for number in range(100)]
    ids = np.array([storage.series_id(each, "gauge") for each in keys])
    fill(storage, ids, 3)
    storage.checkpoint(START_S + 3)
    storage.close()
    again = opened(tmp_path)
    found = again.select("memory", service="digits", where=lambda each: each.instance == "r7")
    assert [each.key for each in found] == [keys[107]]
    assert again.series_ids([key("new"), *keys], "gauge")[1:] == ids.tolist()
    assert again.series_id(key("new"), "gauge") not in ids
    assert again.read(int(ids[107]), 0, 2e10).values.tolist() == pytest.approx(
        [ids[107] + each / 1000 for each in range(3)]
    )


def test_points_that_came_out_of_order_are_read_in_order(tmp_path, opened):
    storage = opened(tmp_path)
    ids = np.array(storage.series_ids([key(instance=f"r{number}") for number in range(3)], "gauge"))
    for second in (3, 1, 2, 2):
        storage.append(ids, START_S + second, ids + second / 10)
        storage.checkpoint(START_S)
    assert storage.flush()
    for number, points in storage.read_many(ids, START_S, START_S + 9).items():
        assert points.times.tolist() == [START_S + 1, START_S + 2, START_S + 3]
        assert points.values.tolist() == [number + second / 10 for second in (1, 2, 3)]


def test_series_of_two_kinds_with_one_key_are_two(folder, opened):
    storage = opened(folder)
    assert storage.series_id(key(), "gauge") != storage.series_id(key(), "counter")
    assert {each.kind for each in storage.select("cpu")} == {"gauge", "counter"}


def test_select_leaves_out_what_ended_before_the_range_and_began_after_it(tmp_path, opened):
    storage = opened(tmp_path)
    old = np.array([storage.series_id(key(instance="old"), "gauge")])
    fill(storage, old, 60)
    new = np.array([storage.series_id(key(instance="new"), "gauge")])
    fill(storage, new, 60, from_s=START_S + 2 * HOUR_S)

    def instances(start_s, end_s):
        return {each.key.instance for each in storage.select("cpu", start_s=start_s, end_s=end_s)}

    assert instances(START_S, START_S + 3 * HOUR_S) == {"old", "new"}
    assert instances(START_S, START_S + HOUR_S) == {"old"}
    assert instances(START_S + 2 * HOUR_S, START_S + 3 * HOUR_S) == {"new"}


def test_histograms_come_back_by_layout(folder, opened):
    storage = opened(folder)
    number = storage.series_id(key("latency"), "histogram")
    explicit = Layout.explicit((0.1, 1.0))
    for index in range(5):
        counts = np.array([[index, 2 * index, 0]])
        storage.append_buckets(np.array([number]), START_S + index, explicit, counts, np.array([0.5 * index]))
    exponential = Layout.of(Buckets(counts={-3: 1, 4: 2}, total=1.0, scale=2))
    storage.append_buckets(np.array([number]), START_S + 9, exponential, np.array([[1, 2]]), np.array([1.0]))
    for _ in range(2):
        (_, first), (layout, second) = storage.read_buckets(number, START_S, START_S + 10)
        assert first.counts.tolist() == [[index, 2 * index, 0] for index in range(5)]
        assert first.totals.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
        assert layout.buckets(second.counts[0], 1.0) == Buckets(counts={-3: 1, 4: 2}, total=1.0, scale=2)
        storage.checkpoint(START_S + 10)
        assert storage.flush()


def test_hours_are_merged_and_read_as_before(folder, opened):
    storage = opened(folder)
    ids = np.array([storage.series_id(key(instance=f"r{number}"), "gauge") for number in range(70)])
    fill(storage, ids, 400, every_s=30.0)
    rows = storage._database.read(lambda c: c.execute("SELECT level, count(*) FROM points GROUP BY level").fetchall())
    assert dict(rows)[1] == dict(rows)[2] == 2 * 3  # groups, hours that are over
    read = storage.read(int(ids[69]), START_S, START_S + 400 * 30)
    assert read.values.tolist() == [ids[69] + each / 1000 for each in range(400)]


def test_by_the_minute_a_gauge_has_mean_low_and_high_and_a_total_its_last(folder, opened):
    storage = opened(folder)
    gauge, counter = storage.series_id(key("cpu"), "gauge"), storage.series_id(key("requests"), "counter")
    ids = np.array([gauge, counter])
    for index in range(2 * 720):
        storage.append(ids, START_S + 5 * index, np.array([float(index % 12), float(index)]))
        if index % 100 == 99:
            storage.checkpoint(START_S + 5 * index)
    storage.checkpoint(START_S + 2 * HOUR_S + 600)
    assert storage.flush()
    minutes = storage.read_many(ids, START_S, START_S + 2 * HOUR_S, step_s=60)
    assert len(minutes[gauge].times) == 120
    assert set(minutes[gauge].values.tolist()) == {5.5}
    assert set(minutes[gauge].low.tolist()) == {0.0}
    assert set(minutes[gauge].high.tolist()) == {11.0}
    assert minutes[counter].values.tolist() == [12 * each + 11 for each in range(120)]
    assert len(storage.read(gauge, START_S, START_S + 2 * HOUR_S).times) == 1440


def test_a_gap_is_no_value_of_a_minute(folder, opened):
    storage = opened(folder)
    ids = np.array([storage.series_id(key(), "gauge")])
    for index, value in enumerate([1.0, np.nan, 3.0]):
        storage.append(ids, START_S + index, np.array([value]))
    storage.append(ids, START_S + 60, np.array([np.nan]))
    storage.checkpoint(START_S + 2 * HOUR_S)
    assert storage.flush()
    minutes = storage.read(int(ids[0]), START_S, START_S + 100, step_s=60)
    np.testing.assert_array_equal(minutes.values, [2.0, np.nan])


def test_raw_goes_after_its_time_and_minutes_stay(folder, opened):
    storage = opened(folder, raw_s=HOUR_S, minutes_s=100 * HOUR_S)
    ids = np.array([storage.series_id(key(), "gauge")])
    fill(storage, ids, 10 * 120, every_s=30.0, checkpoint_every=120)
    storage.checkpoint(START_S + 10 * HOUR_S + 600)
    assert storage.flush()
    read = storage.read(int(ids[0]), START_S, START_S + 10 * HOUR_S)
    gaps = np.diff(read.times)
    assert np.all(np.diff(read.times) > 0)
    assert set(gaps[: 8 * 60 - 1].tolist()) == {60.0}
    assert gaps[-1] == 30.0
    storage.checkpoint(START_S + 200 * HOUR_S)
    assert storage.flush()
    assert len(storage.read(int(ids[0]), 0, 2e10).times) == 0
    assert storage.select("cpu") == []


def test_the_oldest_go_where_there_are_too_many_bytes(folder, opened):
    storage = opened(folder, memory_bytes=2**22, max_bytes=2**24)
    bound = 2**22 if folder is None else 2**24
    ids = np.array([storage.series_id(key(instance=f"r{number}"), "gauge") for number in range(2000)])
    rng = np.random.default_rng(0)
    for index in range(40):
        at_s = START_S + 100 * index + np.arange(30.0)
        storage.append(np.tile(ids, 30), np.repeat(at_s, 2000), rng.normal(size=60_000))
        storage.checkpoint(at_s[-1] + 60)
        assert storage.flush()
        assert storage.num_bytes < bound + 2**20
    read = storage.read(int(ids[0]), 0, 2e10)
    assert read.times[-1] == START_S + 3929
    assert read.times[0] > START_S


def test_a_disk_that_is_slow_holds_up_senders_before_memory_runs_out(tmp_path, opened, monkeypatch):
    monkeypatch.setattr("telemetry.storage.storage.MAX_WAITING_BYTES", 100_000)
    storage = opened(tmp_path)
    ids = np.array(storage.series_ids([key(instance=f"r{number}") for number in range(1000)], "gauge"))
    with storage._database.writing():  # a write of its own that takes its time
        for second in range(9):
            assert storage.is_behind == (second * 3 * ids.nbytes > 100_000)
            storage.append(ids, START_S + second, ids + 0.5)
            storage.checkpoint(START_S + second)
        assert len(storage.read(int(ids[3]), START_S, START_S + 9).times) == 9
    assert storage.flush()
    assert not storage.is_behind


def test_histograms_that_are_read_together_are_what_each_is_alone(folder, opened):
    storage = opened(folder)
    ids = np.array(storage.series_ids([key("latency", f"r{number}") for number in range(70)], "histogram"))
    layouts = [Layout.explicit((0.1, 1.0)), Layout.explicit((0.5, 1.0))]
    for second in range(6):
        layout = layouts[second // 4]
        counts = np.outer(ids + 1, [second, 2 * second, 1])
        storage.append_buckets(ids, START_S + second, layout, counts, ids * second / 2)
        storage.checkpoint(START_S + second)
    assert storage.flush()
    together = storage.read_many_buckets([*ids.tolist(), 10**6], START_S, START_S + 9)
    assert together.keys() == set(ids.tolist())
    for number in ids[::23].tolist():
        assert [layout for layout, _ in together[number]] == layouts
        for (_, one), (_, other) in zip(
            together[number], storage.read_buckets(number, START_S, START_S + 9), strict=True
        ):
            assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
        assert together[number][0][1].counts.tolist() == [
            [(number + 1) * second, (number + 1) * 2 * second, number + 1] for second in range(4)
        ]


def test_a_checkpoint_has_its_place_and_states_or_nothing(tmp_path, opened):
    storage = opened(tmp_path)
    assert storage.checkpointed() == (0, {})
    done = []
    storage.checkpoint(START_S, 17, {"series": b"state"}, lambda: done.append(True))
    assert storage.flush()
    assert done == [True]
    storage.close()
    assert opened(tmp_path).checkpointed() == (17, {"series": b"state"})


def test_without_room_nothing_is_lost_and_it_goes_on_when_there_is(tmp_path, opened, caplog):
    """SQLite's own bound on the pages of a file stands for the disk."""
    storage = opened(tmp_path)
    ids = np.array([storage.series_id(key(instance=f"r{number}"), "gauge") for number in range(500)])
    connection = storage._database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 10}")
    rng = np.random.default_rng(0)
    given = [rng.normal(size=500) for _ in range(200)]
    for index, values in enumerate(given):
        storage.append(ids, START_S + index, values)
        if index % 50 == 49:
            storage.checkpoint(START_S + index)
    assert not storage.flush(0.2)
    assert storage.is_behind == (MAX_WAITING <= 4)
    assert len(storage.read(int(ids[3]), START_S, START_S + 300).times) == 200
    connection.execute("PRAGMA max_page_count = 1000000")
    assert storage.flush()
    assert not storage.is_behind
    assert storage.read(int(ids[3]), START_S, START_S + 300).values.tolist() == [values[3] for values in given]
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith("storage cannot write, and tries again: database or disk is full")
    assert messages[-1].startswith("storage writes again")
    assert len(messages) == 2


def test_a_checkpoint_that_cannot_be_written_for_a_fault_of_ours_holds_no_other_up(folder, opened, caplog):
    storage = opened(folder)
    ids = np.array([storage.series_id(key(), "gauge")])
    storage.append_buckets(ids, START_S, Layout(indexes=(object(),)), np.array([[1]]), np.array([1.0]))
    storage.checkpoint(START_S)
    fill(storage, ids, 3)
    storage.checkpoint(START_S + 3)
    assert storage.flush()
    assert len(storage.read(int(ids[0]), START_S, START_S + 10).times) == 3
    assert "a checkpoint failed; the rest goes on" in caplog.text


def written(folder, seconds=300):
    storage = Storage(folder, StorageConfig())
    ids = np.array([storage.series_id(key(instance=f"r{number}"), "gauge") for number in range(200)])
    fill(storage, ids, seconds)
    storage.close()
    return ids


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.9])
def test_a_file_that_was_cut_short_is_put_aside_and_a_new_one_begun(tmp_path, opened, caplog, part):
    written(tmp_path)
    path = tmp_path / FILE
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * part))
    storage = opened(tmp_path)
    ids = np.array([storage.series_id(key(), "gauge")])
    fill(storage, ids, 60)
    assert len(storage.read(int(ids[0]), 0, 2e10).times) == 60
    if part:
        assert storage.num_put_aside == 1
        assert len(list(tmp_path.glob("telemetry.damaged-*.sqlite"))) == 1
        assert "was put aside as" in caplog.text


def test_damage_that_shows_only_later_is_put_aside_then_and_series_keep_their_numbers(tmp_path, opened):
    written(tmp_path)
    path = tmp_path / FILE
    raw = bytearray(path.read_bytes())
    for at in range(4096 * 3, len(raw), 7):
        raw[at] ^= 0xFF
    path.write_bytes(raw)
    storage = opened(tmp_path)
    ids = np.array([storage.series_id(key(instance=f"r{number}"), "gauge") for number in range(5)])
    fill(storage, ids, 60)
    assert storage.num_put_aside == 1
    assert len(storage.read(int(ids[4]), 0, 2e10).times) == 60
    assert {each.key.instance for each in storage.select("cpu")} == {f"r{number}" for number in range(5)}


def test_a_damaged_block_is_left_out_and_the_others_are_read(tmp_path, opened, caplog):
    ids = written(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as connection:
        (block,) = connection.execute("SELECT block FROM points WHERE id = 1").fetchone()
        connection.execute("UPDATE points SET block = ? WHERE id = 1", (block[:-5] + b"-----",))
    connection.close()
    storage = opened(tmp_path)
    assert len(storage.read(int(ids[0]), 0, 2e10).times) == 270
    assert "a block of points is damaged" in caplog.text


def test_appending_is_cheap_and_a_checkpoint_leaves_the_caller_at_once(tmp_path, opened):
    """Nothing is sorted, encoded or written where points come in: the same array is handed on."""
    storage = opened(tmp_path)
    ids, values = np.arange(64), np.arange(64.0)
    storage.append(ids, START_S, values)
    (block,) = storage._head._numbers
    assert block.ids is ids
    assert block.columns[0] is values
