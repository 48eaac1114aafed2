"""The journal: what was acknowledged is there, however the writer or the file ended."""

import gzip
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.journal.errors import JournalError
from telemetry.journal.journal import Journal
from telemetry.journal.record import HEADER_BYTES, MAGIC

BODIES = st.lists(st.one_of(st.binary(max_size=40), st.builds(lambda b: b * 400, st.binary(max_size=3))), max_size=12)


def bodies(journal, name="all"):
    reader, place, found = journal.reader(name, "oldest"), None, []
    while records := reader.read(200, place):
        found += [record.body for record in records]
        place = records[-1].place
    return found


def the_file(folder):
    (path,) = Path(folder).glob("*.journal")
    return path


def filled(folder, given_bodies):
    journal = Journal(Path(folder))
    for index, body in enumerate(given_bodies):
        journal.append("traces", body, 100.0 + index)
    journal.close()


def test_a_request_comes_back_as_it_was(tmp_path):
    journal = Journal(tmp_path)
    place = journal.append("logs", b"body" * 1000, 12.5, "127.0.0.1:4711")
    (record,) = journal.reader("page", "oldest").read(1)
    assert (record.signal, record.body, record.time_s, record.sender, record.place) == (
        "logs",
        b"body" * 1000,
        12.5,
        "127.0.0.1:4711",
        place,
    )
    assert journal.num_bytes < 200  # compressed


def test_a_body_that_came_as_gzip_is_kept_as_it_came(tmp_path):
    journal, body = Journal(tmp_path), bytes(range(256)) * 40
    came = gzip.compress(body[:5000]) + gzip.compress(body[5000:])  # of two parts, as gzip allows
    before = journal.end
    assert journal.append("metrics", body, 1.0, "me", came) - before == HEADER_BYTES + len("me") + len(came)
    (record,) = journal.reader("page", "oldest").read(1)
    assert (record.body, record.sender) == (body, "me")


def test_a_body_that_its_sender_hardly_compressed_is_compressed_anew(tmp_path):
    journal, body = Journal(tmp_path), b"body" * 1000
    journal.append("logs", body, 1.0, gzipped=gzip.compress(body, 0))
    assert journal.num_bytes < 200
    assert bodies(journal) == [body]


@settings(max_examples=40)
@given(BODIES)
def test_everything_appended_is_read_after_another_start(given_bodies):
    with tempfile.TemporaryDirectory() as folder:
        filled(folder, given_bodies)
        assert bodies(Journal(Path(folder))) == given_bodies


@settings(max_examples=40)
@given(BODIES.filter(len), st.data())
def test_a_torn_tail_costs_its_own_record_alone(given_bodies, data):
    with tempfile.TemporaryDirectory() as folder:
        filled(folder, given_bodies[:-1])
        path = the_file(folder)
        whole = path.stat().st_size
        filled(folder, given_bodies[-1:])
        cut = data.draw(st.integers(whole, path.stat().st_size - 1))
        with path.open("r+b") as file:
            file.truncate(cut)
        journal = Journal(Path(folder))
        journal.append("traces", b"after", 1.0)
        assert bodies(journal) == [*given_bodies[:-1], b"after"]


@settings(max_examples=40)
@given(BODIES.filter(len), st.data())
def test_a_flipped_byte_costs_its_own_record_alone_and_never_gives_another(given_bodies, data):
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        ends = [0, *(journal.append("metrics", body, 1.0) for body in given_bodies)]
        journal.close()
        path = the_file(folder)
        raw = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(raw)
        hit = next(index for index in range(len(given_bodies)) if ends[index] <= at < ends[index + 1])
        assert bodies(Journal(Path(folder))) == given_bodies[:hit] + given_bodies[hit + 1 :]


def test_a_body_that_looks_like_records_is_one_body(tmp_path):
    body = (MAGIC + bytes(HEADER_BYTES)) * 3
    filled(tmp_path, [body, b"next"])
    assert bodies(Journal(tmp_path)) == [body, b"next"]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3)), max_size=12))
def test_each_reader_goes_on_where_it_committed(steps):
    """Over restarts, whatever the other one does; what was read and not committed is read again."""
    with tempfile.TemporaryDirectory() as folder:
        filled(folder, [bytes([index]) for index in range(20)])
        done = {"a": 0, "b": 0}
        for name, num in steps:
            journal = Journal(Path(folder))
            reader = journal.reader(name, "oldest")
            records = reader.read(20)
            assert [record.body[0] for record in records] == list(range(done[name], 20))
            if num and records:
                done[name] += min(num, len(records))
                reader.commit(records[min(num, len(records)) - 1].place)
            assert (reader.lag_bytes == 0) == (done[name] == 20)
            journal.close()


def test_a_new_reader_of_the_newest_begins_with_the_next_request(tmp_path):
    journal = Journal(tmp_path)
    journal.append("metrics", b"old", 1.0)
    reader = journal.reader("late")
    assert reader.read(10) == []
    journal.append("metrics", b"new", 2.0)
    assert [record.body for record in reader.read(10)] == [b"new"]


def test_a_place_that_was_damaged_reads_all_again(tmp_path):
    filled(tmp_path, [b"1", b"2"])
    journal = Journal(tmp_path)
    journal.reader("all", "oldest").commit(journal.end)
    journal.close()
    (tmp_path / "all.place").write_bytes(b"\0" * 12)
    assert bodies(Journal(tmp_path)) == [b"1", b"2"]


def test_a_reader_that_lags_too_far_loses_the_oldest_and_the_loss_is_counted(tmp_path, caplog):
    journal = Journal(tmp_path, segment_bytes=1000, max_bytes=4000)
    quick, slow = journal.reader("quick"), journal.reader("slow")
    for index in range(300):
        quick.commit(journal.append("traces", index.to_bytes(2, "big"), 1.0))
        assert journal.num_bytes <= 4000
    left = [int.from_bytes(record.body, "big") for record in slow.read(10**6)]
    assert left == list(range(300 - len(left), 300))
    assert (quick.num_lost, slow.num_lost) == (0, 300 - len(left))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} must not exceed 4000 bytes, and slow is further behind; the oldest requests are lost to it"
    ]


def test_files_that_every_reader_is_done_with_are_removed(tmp_path):
    journal = Journal(tmp_path, segment_bytes=500, max_bytes=10**6)
    readers = [journal.reader("a"), journal.reader("b")]
    for _ in range(100):
        journal.append("traces", b"x" * 50, 1.0)
    readers[0].commit(journal.end)
    assert len(list(tmp_path.glob("*.journal"))) > 10
    readers[1].commit(journal.end)
    assert len(list(tmp_path.glob("*.journal"))) == 1


def test_what_a_reader_of_before_has_not_read_is_kept_until_it_is_forgotten(tmp_path):
    """One that is opened later must not lose what another one released; one that is gone must not hold the files."""
    journal = Journal(tmp_path, segment_bytes=500, max_bytes=10**6)
    journal.reader("early"), journal.reader("late"), journal.reader("gone")
    for _ in range(100):
        journal.append("traces", b"x" * 50, 1.0)
    journal.close()
    again = Journal(tmp_path, segment_bytes=500, max_bytes=10**6)
    again.reader("early").commit(again.end)
    assert len(again.reader("late").read(10**6)) == 100
    again.reader("late").commit(again.end)
    assert len(list(tmp_path.glob("*.journal"))) > 10
    again.forget_absent()
    assert len(list(tmp_path.glob("*.journal"))) == 1
    assert sorted(path.stem for path in tmp_path.glob("*.place")) == ["early", "late"]


def test_a_second_process_is_told_whose_the_folder_is(tmp_path):
    first = Journal(tmp_path)
    with pytest.raises(JournalError, match=r"must belong to one collector.*set data_dir to another folder"):
        Journal(tmp_path)
    first.close()
    Journal(tmp_path)


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="must be a folder that can be written to"):
        Journal(tmp_path / "file" / "journal")


def test_a_reader_may_not_leave_the_folder(tmp_path):
    with pytest.raises(JournalError, match="a reader's name must be of letters"):
        Journal(tmp_path).reader("../elsewhere")


def test_many_threads_append_whole_records(tmp_path):
    journal = Journal(tmp_path, segment_bytes=2000, max_bytes=10**6)

    def append(thread):
        for index in range(100):
            journal.append("traces", bytes([thread, index]) * 20, 1.0)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = bodies(journal)
    assert sorted(found) == sorted(bytes([thread, index]) * 20 for thread in range(4) for index in range(100))


WRITER = """
import sys
from pathlib import Path
from telemetry.journal.journal import Journal
journal = Journal(Path(sys.argv[1]), segment_bytes=20000, max_bytes=10**9)
for index in range(10**9):
    journal.append("traces", index.to_bytes(4, "big") * 100, 1.0)
    print(index, flush=True)  # the acknowledgement
"""


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE) as writer:
        for _ in range(500):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split(b"\n")[:-1]
    num_acknowledged = 500 + len(rest)
    found = [int.from_bytes(body[:4], "big") for body in bodies(Journal(tmp_path))]
    assert len(found) >= num_acknowledged
    assert found == list(range(len(found)))


FULL = """
import random, resource, sys
from pathlib import Path
from telemetry.journal.errors import JournalError
from telemetry.journal.journal import Journal
def room(num_bytes): resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))
room(5000)
journal = Journal(Path(sys.argv[1]))
taken = []
for index in range(30):
    if index == 20: room(10**6)
    body = random.Random(index).randbytes(500)
    try:
        journal.append("traces", body, 1.0)
        taken.append(body)
    except JournalError as error:
        assert "must have room for a request" in str(error), error
        print(index)
assert [record.body for record in journal.reader("all", "oldest").read(10**9)] == taken
"""


def test_a_full_disk_refuses_and_goes_on_when_there_is_room(tmp_path):
    """With a bound on the size of files: the kernel cuts a write short, then refuses it, as on a full disk."""
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused = [int(line) for line in done.stdout.split()]
    assert refused == list(range(refused[0], 20))
    assert 5 <= refused[0] < 10
