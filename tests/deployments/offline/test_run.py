"""A run that is stopped anywhere goes on without a missing or doubled row; another run may not go on with it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.__main__ import main
from deployments.errors import ScoringError
from deployments.offline.model import model
from deployments.offline.output import Output
from deployments.offline.run import Order, score
from deployments.offline.worker import Worker, here
from tests.conftest import publish_tiny
from tests.deployments.offline.runs import run, written

ROW = '{"id": %d, "features": [1, 2, 3, %s]}'
OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir")


def write_rows(path, count, bad=()):
    path.write_text("".join(ROW % (at, '"x"' if at in bad else at % 7) + "\n" for at in range(count)))
    return path


class Killed(BaseException):
    """What kill -9 does, as near as an exception comes to it."""


class Mortal:
    """Lets this process do so many file operations below a folder, and none after; Python tells of each before it."""

    def __init__(self):
        self.left, self.folder = None, ""
        sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if self.left is None or event not in OPERATIONS or not str(arguments[0]).startswith(self.folder):
            return
        self.left -= 1
        if self.left < 0:
            raise Killed


@pytest.fixture(scope="module")
def mortal():
    return Mortal()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return publish_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def here_once():
    """Scores in this process by one worker for all runs of a test, so that each loads no model."""
    workers = {}

    def spread(work, tasks):
        worker = workers.setdefault(work.model, Worker(work))
        worker._work, worker._output = work, Output(work.output)
        for task in tasks:
            yield worker.score(task)

    yield spread
    for worker in workers.values():
        worker.__exit__()


@settings(max_examples=25)
@given(lives=st.lists(st.integers(0, 40), max_size=3))
def test_killed_between_any_two_file_operations_no_row_is_missing_or_doubled(
    tmp_path_factory, tiny, mortal, here_once, lives
):
    folder = tmp_path_factory.mktemp("killed")
    order = Order(
        model=model(str(tiny.path), "artifacts", None),
        input=str(write_rows(folder / "x.jsonl", 7)),
        output=str(folder / "out"),
        chunk_rows=2,
    )
    mortal.folder = str(folder / "out")
    for mortal.left in lives:
        try:
            score(order, here_once)
        except Killed:
            continue
        finally:
            mortal.left = None
    mortal.left = None
    assert score(order, here_once).num_done == 7
    assert written(folder / "out")["id"].to_pylist() == list(range(7))
    assert [left.name for left in (folder / "out").rglob(".*")] == []


def test_what_is_done_is_not_done_again(tiny, tmp_path):
    given = write_rows(tmp_path / "x.jsonl", 10)
    assert run(tiny, given, tmp_path / "out", chunk_rows=4).num_before == 0
    written_ns = {part: part.stat().st_mtime_ns for part in (tmp_path / "out").glob("*.parquet")}
    (tmp_path / "out" / "part-00001.parquet").write_bytes(b"cut short")
    assert run(tiny, given, tmp_path / "out", chunk_rows=4).num_before == 6
    changed = [part.name for part, before_ns in written_ns.items() if part.stat().st_mtime_ns != before_ns]
    assert changed == ["part-00001.parquet"]
    assert written(tmp_path / "out")["id"].to_pylist() == list(range(10))


def test_a_run_that_differs_is_told_in_what(tiny, tmp_path):
    given = write_rows(tmp_path / "x.jsonl", 10)
    run(tiny, given, tmp_path / "out")
    with pytest.raises(ScoringError, match=r"keep was None, is \['id'\]; chunk_rows was 4096, is 5"):
        run(tiny, given, tmp_path / "out", chunk_rows=5, keep=("id",))
    other = publish_tiny(tmp_path / "artifacts", "other")
    with pytest.raises(ScoringError, match="model was 'tiny', is 'other'"):
        run(other, given, tmp_path / "out")
    write_rows(given, 11)
    with pytest.raises(ScoringError, match=r"x\.jsonl has changed"):
        run(tiny, given, tmp_path / "out")


def test_a_new_version_does_not_go_on_with_the_run_of_an_older_one(tmp_path):
    publish_tiny(tmp_path / "artifacts")
    given, artifacts = write_rows(tmp_path / "x.jsonl", 10), str(tmp_path / "artifacts")

    def newest(version=None):
        order = Order(model=model("tiny", artifacts, version), input=str(given), output=str(tmp_path / "out"))
        return score(order, here)

    newest()
    publish_tiny(tmp_path / "artifacts")
    with pytest.raises(ScoringError, match="version was '1', is '2'"):
        newest()
    assert newest("1").num_before == 10


def test_relative_paths_mean_the_same_to_workers_elsewhere(tmp_path, monkeypatch):
    publish_tiny(tmp_path / "artifacts")
    write_rows(tmp_path / "x.jsonl", 3)
    monkeypatch.chdir(tmp_path)
    order = Order(model=model("tiny", "artifacts", None), input="x.jsonl", output="out")

    def elsewhere(work, tasks):
        monkeypatch.chdir("/")
        yield from here(work, tasks)
        monkeypatch.chdir(tmp_path)

    assert score(order, elsewhere).num_done == 3
    assert written(tmp_path / "out")["id"].to_pylist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["theirs.txt", "part-00000.parquet"])
def test_a_folder_that_holds_something_else_is_left_alone(tiny, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(ScoringError, match=f"must be a new or empty folder, .* with {name}"):
        run(tiny, write_rows(tmp_path / "x.jsonl", 3), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.parametrize("name", ["in", "in/scored"])
def test_an_output_within_the_input_is_refused(tiny, tmp_path, name):
    (tmp_path / "in").mkdir()
    write_rows(tmp_path / "in" / "x.jsonl", 3)
    with pytest.raises(ScoringError, match="--output must lie outside of --input"):
        run(tiny, tmp_path / "in", tmp_path / name)


def test_two_runs_do_not_write_one_folder_at_a_time(tiny, tmp_path):
    given = write_rows(tmp_path / "x.jsonl", 3)
    with Output(str(tmp_path / "out")).held(), pytest.raises(ScoringError, match="is being written by another run"):
        run(tiny, given, tmp_path / "out")
    assert run(tiny, given, tmp_path / "out").num_done == 3


def test_too_many_bad_rows_end_the_run_and_name_the_first_and_a_larger_limit_goes_on(tiny, tmp_path):
    given = write_rows(tmp_path / "x.jsonl", 100, bad=(3, 5, 90))
    with pytest.raises(ScoringError, match=r"at most 1 rows of 100 may be bad, got 2 of the 10 [\s\S]*x.jsonl row 3: "):
        run(tiny, given, tmp_path / "out", chunk_rows=10)
    assert run(tiny, given, tmp_path / "out", chunk_rows=10, max_bad=3).num_bad == 3
    with pytest.raises(ScoringError, match="at most 2 rows"):
        run(tiny, given, tmp_path / "out", chunk_rows=10, max_bad=0.02)


def test_an_input_that_changes_while_it_is_scored_is_told(tiny, tmp_path):
    given = write_rows(tmp_path / "x.jsonl", 10)
    order = Order(model=model(str(tiny.path), "", None), input=str(given), output=str(tmp_path / "out"), chunk_rows=5)

    def cut_short(work, tasks):
        with Worker(work) as worker:
            yield worker.score(tasks[0])
            write_rows(given, 7)
            yield worker.score(tasks[1])

    with pytest.raises(ScoringError, match="must have 5 rows from row 5 on, got 2: it has changed"):
        score(order, cut_short)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"f": ("features",)}}, "--column must name an input of the model, features; got 'f'"),
        ({"columns": {"features": ("x",)}}, "--column features must name columns of id, features; got 'x'"),
        ({"keep": ("x",)}, "--keep must name columns of the input, id, features; got 'x'"),
        ({"format": "text"}, "model 'tiny' takes no raw input"),
        ({"format": "text", "columns": {"features": ("text",)}}, "--column is for files that have columns"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(tiny, tmp_path, options, message):
    with pytest.raises(ScoringError, match=message):
        run(tiny, write_rows(tmp_path / "x.jsonl", 3), tmp_path / "out", **options)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_lock"]


@pytest.mark.parametrize("limit", ["x", "-1", "101%", "-1%", "0.5"])
def test_a_limit_is_a_number_or_a_share(limit, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["score", "m", "--input", "x", "--output", "y", f"--max-bad={limit}"])
    assert "must be a number of rows, or a percentage such as 1%" in capsys.readouterr().err


def command(tmp_path, *options):
    """The command as it is called, on a cluster of its own."""
    words = ["score", "tiny", "--artifacts", "artifacts", "--input", "x.jsonl", "--output", "out", "--json", *options]
    environment = {**os.environ, "RAY_ADDRESS": "local", "PYTHONPATH": str(Path(__file__).parents[3])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-m", "deployments", *words], env=environment, cwd=tmp_path, text=True, **pipes
    )


@pytest.mark.ray
def test_the_command_scores_on_a_cluster(tmp_path):
    publish_tiny(tmp_path / "artifacts")
    write_rows(tmp_path / "x.jsonl", 500)
    process = command(tmp_path, "--chunk-rows", "100", "--keep", "id")
    said, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert json.loads(said) | {"rows_per_s": 0} == {
        "rows": 500,
        "bad_rows": 0,
        "rows_before": 0,
        "rows_per_s": 0,
        "output": "out",
    }
    assert written(tmp_path / "out")["id"].to_pylist() == list(range(500))


@pytest.mark.ray
@pytest.mark.long
def test_a_killed_command_goes_on_where_it_was(tmp_path):
    publish_tiny(tmp_path / "artifacts")
    write_rows(tmp_path / "x.jsonl", 40_000)
    for wanted, ending in ((3, signal.SIGKILL), (40, signal.SIGINT), (80, signal.SIGKILL)):
        process = command(tmp_path, "--chunk-rows", "200")
        deadline = time.monotonic() + 120
        while len(list((tmp_path / "out" / "_done").glob("*.json"))) < wanted:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(ending)
        process.communicate(timeout=60)
        assert process.returncode == (130 if ending == signal.SIGINT else -ending)
    process = command(tmp_path, "--chunk-rows", "200")
    summary = json.loads(process.communicate(timeout=120)[0])
    assert summary["rows"] == 40_000
    assert 0 < summary["rows_before"] < 40_000
    assert written(tmp_path / "out")["id"].to_pylist() == list(range(40_000))
