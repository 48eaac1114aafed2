"""State of older releases is taken up; state of newer ones is refused and left as it is.

`states/1.tar.xz` is a data folder that the code before version 2 wrote, killed after its checkpoint.
"""

import asyncio
import sqlite3
import tarfile
from pathlib import Path

import pytest

from telemetry.__main__ import main
from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.storage.errors import StorageError
from telemetry.storage.logs import LogQuery
from telemetry.storage.spans import SpanQuery
from telemetry.storage.storage import Storage
from telemetry.storage.versions import MIGRATIONS, VERSION
from tests.telemetry.traffic import START_S, Clock

STATES = Path(__file__).parent / "states"


@pytest.fixture
def folder(tmp_path):
    with tarfile.open(STATES / "1.tar.xz") as state:
        state.extractall(tmp_path / "data", filter="data")
    return tmp_path / "data"


def opened(folder):
    clock = Clock()
    clock.now_s = START_S + 300
    return Collector(CollectorConfig(data_dir=folder, grpc_port=0, http_port=0), clock=clock)


def version_of(path):
    with sqlite3.connect(path) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_every_version_before_this_one_has_a_migration_and_a_state_to_try_it_on():
    assert sorted(MIGRATIONS) == list(range(1, VERSION))
    assert sorted(path.name for path in STATES.iterdir()) == [f"{each}.tar.xz" for each in range(1, VERSION)]


def test_a_collector_goes_on_with_what_the_code_before_has_kept(folder):
    assert version_of(folder / "telemetry.sqlite") == 1
    collector = opened(folder)

    async def start_and_stop():
        await collector.start()
        found = collector.storage.search_spans(SpanQuery(name="POST /infer", limit=100)), list(collector.incidents)
        lines = {record.body for record in collector.storage.search_logs(LogQuery())}
        await collector.stop()
        return *found, lines

    spans, (incident,), lines = asyncio.run(start_and_stop())
    assert sorted(dict(span.attributes)["number"] for span in spans) == [0, 1, 2]
    assert lines == {"line 0", "line 1"}
    assert incident.is_open
    assert incident.acknowledged.by == "ann"
    assert [alert.signal for alert in incident.alerts] == ["latency"]
    for name in ("telemetry.sqlite", "documents.sqlite"):
        assert version_of(folder / name) == VERSION
    assert not list(folder.glob("*damaged*"))


def test_a_series_reads_the_same_before_and_after(folder):
    def points():
        storage = Storage(folder, read_only=True)
        found = {each.key: storage.read(each.id, START_S, START_S + 400) for each in storage.select()}
        storage.close()
        return {key: (each.times.tolist(), each.values.tolist()) for key, each in found.items()}

    before = points()
    opened(folder).data.close()
    assert before
    assert points() == before


@pytest.mark.parametrize("name", ["telemetry.sqlite", "documents.sqlite"])
def test_state_of_a_newer_release_is_refused_by_its_name_and_left_as_it_is(folder, name, capsys):
    opened(folder).data.close()
    with sqlite3.connect(folder / name) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.execute("INSERT INTO releases VALUES ('9.1.0', 1e12)")
    connection.close()
    before = {path: path.read_bytes() for path in folder.rglob("*.journal")}
    with pytest.raises(
        StorageError, match=rf"version {VERSION} or an older one, got {VERSION + 1}, .* Trimtab 9\.1\.0"
    ):
        opened(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.journal")} == before
    assert not list(folder.glob("*damaged*"))
    if name == "telemetry.sqlite":
        assert main(["export", "--data-dir", str(folder), "--out", str(folder / "out")]) == 2
        assert "run that release" in capsys.readouterr().err
