"""What a process takes of its machine."""

import asyncio
import mmap
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from telemetry import conventions
from telemetry.emitting import event_loop, process, resources
from telemetry.emitting.process import Memory, Throttling
from tests.telemetry.emitting.sink import emitter_to, listening

SHARED_BYTES = 64 * 2**20


@pytest.mark.skipif(not process._ROLLUP.exists(), reason="this kernel tells no proportional set size")
def test_weights_that_several_processes_map_are_counted_once_in_all(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"w" * SHARED_BYTES)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        own = psutil.Process()
        touched = sum(mapped[:: mmap.PAGESIZE])
        alone = Memory(own).bytes()
        code = (
            f"import mmap, sys; f = open({str(file)!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ);"
            "sum(m[::mmap.PAGESIZE]); print(flush=True); sys.stdin.read()"
        )
        other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        other.stdout.readline()
        shared = Memory(own).bytes()
        other.communicate()
    assert touched > 0
    assert alone - shared == pytest.approx(SHARED_BYTES / 2, rel=0.2)


def test_memory_is_read_seldom_and_grows_with_the_resident_set_in_between(tmp_path):
    class Process:
        resident = 1000 * 1024

        def memory_info(self):
            return SimpleNamespace(rss=self.resident)

    rollup, own = tmp_path / "smaps_rollup", Process()
    rollup.write_text("Rss:  1000 kB\nPss:  400 kB\nPss_Anon:  9 kB\n")
    memory = Memory(own, rollup)
    assert memory.bytes() == 400 * 1024
    rollup.write_text("Pss:  1 kB\n")
    own.resident += 50 * 1024
    assert memory.bytes() == 450 * 1024, "not read again"
    memory._next_s = 0.0
    assert memory.bytes() == 1024


def test_where_there_is_no_proportional_set_size_it_is_the_resident_one(tmp_path):
    memory = Memory(psutil.Process(), tmp_path / "missing")
    assert memory.bytes() > 2**20


def test_reading_memory_takes_a_thousandth_of_the_time_at_most(monkeypatch, tmp_path):
    rollup = tmp_path / "smaps_rollup"
    rollup.write_text("Pss:  1 kB\n")
    memory = Memory(psutil.Process(), rollup)
    monkeypatch.setattr(memory, "_read", lambda: time.sleep(0.02) or 1024)
    memory.bytes()
    assert memory._next_s - time.monotonic() > 19


def test_throttling_is_what_the_control_group_waited_since_the_process_began_to_report(tmp_path):
    own, group = tmp_path / "cgroup", tmp_path / "fs" / "pod" / "one"
    group.mkdir(parents=True)
    own.write_text("3:cpu:/else\n0::/pod/one\n")
    stat = group / "cpu.stat"
    stat.write_text("usage_usec 5\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1000000\n")
    throttling = Throttling.found(tmp_path / "fs", own)
    assert (throttling.periods(), throttling.seconds()) == ({(): 0}, {(): 0.0})
    stat.write_text("usage_usec 5\nnr_periods 20\nnr_throttled 7\nthrottled_usec 3500000\n")
    assert (throttling.periods(), throttling.seconds()) == ({(): 3}, {(): 2.5})


@pytest.mark.parametrize("text", ["", "3:cpu:/else\n", "0::/no/such/group\n"])
def test_without_a_group_that_may_be_throttled_nothing_is_said(tmp_path, text):
    (tmp_path / "cgroup").write_text(text)
    assert Throttling.found(tmp_path, tmp_path / "cgroup") is None


def test_a_loop_that_is_held_up_is_seen_to_lag(monkeypatch):
    monkeypatch.setattr(event_loop, "EVERY_S", 0.01)
    emitter = emitter_to("none")
    event_loop.observe(emitter)

    async def main():
        emitter.start()
        await asyncio.sleep(0.03)
        time.sleep(0.1)
        await asyncio.sleep(0.03)

    asyncio.run(main())
    (point,) = emitter.histogram(conventions.EVENT_LOOP_LAG).lifetime()
    assert point.max > 0.08
    assert point.count > 2
    emitter.shutdown()


def test_a_process_without_a_loop_reports_no_lag():
    emitter = emitter_to("none")
    event_loop.observe(emitter)
    emitter.start()
    emitter.shutdown()
    assert emitter.histogram(conventions.EVENT_LOOP_LAG).lifetime() == []


def test_file_descriptors_are_counted_and_their_limit_told():
    with listening() as sink:
        emitter = emitter_to(sink.endpoint)
        resources.observe(emitter)
        emitter.shutdown()
        count = sink.last("process.unix.file_descriptor.count").sum.data_points[0].as_int
        limit = sink.last("trimtab.process.file_descriptor.limit").gauge.data_points[0].as_int
    assert 3 < count < limit


def test_memory_that_is_left_is_the_groups_where_that_is_less(tmp_path):
    assert process.available_bytes(None) == pytest.approx(psutil.virtual_memory().available, rel=0.1)
    for name, text in {
        "memory.max": "104857600",
        "memory.current": "62914560",
        "memory.stat": "anon 1\ninactive_file 20971520",
    }.items():
        (tmp_path / name).write_text(text + "\n")
    assert process.available_bytes(tmp_path) == 60 * 2**20
    (tmp_path / "memory.max").write_text("max\n")
    assert process.available_bytes(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.1)
