"""A backup that is made while the collector runs holds what was acknowledged before, and comes back as it was."""

import asyncio
import json
import threading

import pytest

from telemetry.__main__ import main
from telemetry.storage import backup
from telemetry.storage.backup import MANIFEST, back_up, restore
from telemetry.storage.config import StorageConfig
from telemetry.storage.data_folder import DataFolder
from telemetry.storage.errors import StorageError
from telemetry.storage.spans import SpanQuery
from telemetry.storage.versions import VERSION
from tests.telemetry.storage.test_requests import of_spans
from tests.telemetry.test_restart import opened


@pytest.fixture
def running(tmp_path):
    """A collector with three requests of which one is checkpointed; and a rollout whose last line is cut short."""
    collector = opened(tmp_path / "data")
    for index in range(3):
        collector.receive_traces(of_spans(index))
        if index == 0:
            collector.checkpoint()
            assert collector.storage.flush()
    rollouts = tmp_path / "rollouts"
    rollouts.mkdir()
    (rollouts / "rollouts.jsonl").write_bytes(b'{"format": 1}\n{"for')
    (rollouts / "lock").touch()
    yield collector
    collector.data.close()


def numbers(folder):
    """Of the spans that a collector finds which starts with `folder`."""
    collector = opened(folder)

    async def start_and_stop():
        await collector.start()
        spans = collector.storage.search_spans(SpanQuery(name="POST /infer", limit=10_000))
        await collector.stop()
        return sorted(dict(span.attributes)["number"] for span in spans)

    return asyncio.run(start_and_stop())


def test_what_was_acknowledged_before_is_in_it_and_comes_back(tmp_path, running, capsys):
    running.documents.keep("usual", {"p95": 1})
    folders = ["--rollouts", str(tmp_path / "rollouts")]
    out = str(tmp_path / "copy")
    assert main(["backup", "--data-dir", str(tmp_path / "data"), "--out", out, *folders]) == 0
    running.receive_traces(of_spans(3))
    new = [*("--data-dir", str(tmp_path / "new")), *("--rollouts", str(tmp_path / "new rollouts"))]
    assert main(["restore", out, *new]) == 0
    assert "as it was at" in capsys.readouterr().out
    assert numbers(tmp_path / "new") == [0, 1, 2]
    assert (tmp_path / "new rollouts" / "rollouts.jsonl").read_bytes() == b'{"format": 1}\n'
    assert not (tmp_path / "new rollouts" / "lock").exists()
    data = DataFolder(tmp_path / "new", StorageConfig())
    assert data.documents.kept("usual") == {"p95": 1}
    data.close()


def test_what_the_collector_writes_and_removes_while_a_backup_is_made_is_not_missing_from_it(
    tmp_path, running, monkeypatch
):
    """After the database has been copied a checkpoint removes what the journal had for it."""
    running.data.journal._segment_bytes = 1_000
    for index in range(3, 20):
        running.receive_traces(of_spans(index))
    copy_database = backup._copy_database
    before = set((tmp_path / "data" / "journal").glob("*.journal"))

    def copy_and_checkpoint(path, out):
        copy_database(path, out)
        running.receive_traces(of_spans(20 if path.stem == "telemetry" else 21))
        running.checkpoint()
        assert running.storage.flush()

    monkeypatch.setattr(backup, "_copy_database", copy_and_checkpoint)
    back_up(tmp_path / "data", tmp_path / "copy")
    assert before - set((tmp_path / "data" / "journal").glob("*.journal"))
    restore(tmp_path / "copy", tmp_path / "new", tmp_path / "none")
    assert numbers(tmp_path / "new") == list(range(22))


def test_a_backup_that_is_made_under_load_holds_all_up_to_a_moment(tmp_path, running):
    done = threading.Event()

    def send():
        index = 3
        while not done.is_set():
            running.receive_traces(of_spans(index))
            if index % 20 == 0:
                running.checkpoint()
            index += 1

    sending = threading.Thread(target=send)
    sending.start()
    try:
        back_up(tmp_path / "data", tmp_path / "copy")
    finally:
        done.set()
        sending.join()
    restore(tmp_path / "copy", tmp_path / "new", tmp_path / "none")
    found = numbers(tmp_path / "new")
    assert len(found) >= 3
    assert found == list(range(len(found)))


def test_a_backup_that_was_altered_or_cut_short_is_not_restored(tmp_path, running):
    manifest = back_up(tmp_path / "data", tmp_path / "copy")
    for name in manifest["files"]:
        path = tmp_path / "copy" / name
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(StorageError, match="must be as its backup was made"):
            restore(tmp_path / "copy", tmp_path / "new", tmp_path / "none")
        path.write_bytes(content)
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_over(tmp_path, running):
    back_up(tmp_path / "data", tmp_path / "copy")
    with pytest.raises(StorageError, match="must be a new folder"):
        back_up(tmp_path / "data", tmp_path / "copy")
    with pytest.raises(StorageError, match="must be empty or not there"):
        restore(tmp_path / "copy", tmp_path / "data", tmp_path / "none")


@pytest.mark.parametrize("change", [{"state": VERSION + 1}, {"format": 2}])
def test_a_backup_of_a_newer_release_is_refused(tmp_path, running, change):
    manifest = back_up(tmp_path / "data", tmp_path / "copy")
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps({**manifest, **change, "release": "9.1.0"}))
    with pytest.raises(StorageError, match=r"made by Trimtab 9\.1\.0: restore it with that release"):
        restore(tmp_path / "copy", tmp_path / "new", tmp_path / "none")


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/passwd"])
def test_a_manifest_names_files_of_its_backup_alone(tmp_path, running, name):
    manifest = back_up(tmp_path / "data", tmp_path / "copy")
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps({**manifest, "files": {name: {}}}))
    with pytest.raises(StorageError, match="must name files of the backup"):
        restore(tmp_path / "copy", tmp_path / "new", tmp_path / "none")


def test_a_folder_that_holds_no_state_is_named(tmp_path, capsys):
    assert main(["backup", "--data-dir", str(tmp_path), "--out", str(tmp_path / "copy")]) == 2
    assert "must be a collector's folder" in capsys.readouterr().err
