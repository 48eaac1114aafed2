"""Tables on disk, and where they begin."""

import errno

import fsspec
import numpy as np
import pytest
import safetensors.numpy
from fsspec.implementations.local import LocalFileSystem

from deployments.embeddings.initial import check, initial
from deployments.embeddings.snapshot import SnapshotError, newest
from deployments.embeddings.table import Table
from deployments.errors import SettingsError
from tests.deployments.embeddings.simulated import Cluster, SimulatedLoop, run

TABLE = Table(name="items", rows=3000, width=2, dtype="float16")
ALL = np.arange(1024)
IDS = np.arange(3000)
ROWS = np.stack([IDS % 100, IDS % 7], axis=1).astype(np.float32)


class FullDisk(LocalFileSystem):
    """A disk that has room for the first part alone."""

    protocol = "full"
    written = 0

    def pipe_file(self, path, value, **kwargs):
        FullDisk.written += 1
        if FullDisk.written > 1:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        super().pipe_file(path, value, **kwargs)


def served(work, snapshots, num_shards=2, begins="zeros"):
    loop = SimulatedLoop()

    async def all_of_it():
        cluster = Cluster(TABLE, begins=begins)
        keeper = cluster.keeper(snapshots=snapshots)
        await keeper.open(num_shards)
        return await work(cluster, keeper, cluster.reader(keeper, loop))

    return run(all_of_it(), loop)


async def all_rows(reader):
    return (await reader.lookup(IDS)).astype(np.float32)


def test_a_table_that_starts_anew_has_the_rows_of_its_last_snapshot(tmp_path):
    async def write(_, keeper, reader):
        await reader.change("set", IDS, ROWS)
        await keeper.snapshot()
        await reader.change("add", IDS, ROWS)
        await keeper.snapshot()
        await keeper.snapshot()

    async def read(_, __, reader):
        assert np.array_equal(await all_rows(reader), 2 * ROWS)

    served(write, str(tmp_path))
    served(read, str(tmp_path), num_shards=3)
    assert len(list((tmp_path / "items").iterdir())) == 2, "older ones go"


def test_buckets_that_lose_all_copies_at_once_go_back_to_the_snapshot_and_say_so(tmp_path):
    async def work(cluster, keeper, reader):
        await reader.change("set", IDS, ROWS)
        await keeper.snapshot()
        await reader.change("add", IDS, ROWS)
        cluster.kill(0)
        cluster.kill(1)
        await keeper.heal()
        assert np.array_equal(await all_rows(reader), ROWS)
        assert keeper.health().lost_buckets == 1024

    served(work, str(tmp_path))


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path):
    fsspec.register_implementation("full", FullDisk, clobber=True)

    async def work(_, keeper, reader):
        await reader.change("set", IDS, ROWS)
        with pytest.raises(SnapshotError, match=r"must be writable: OSError: .*No space left on device"):
            await keeper.snapshot()
        assert "No space left" in keeper.health().snapshot_problem
        assert np.array_equal(await all_rows(reader), ROWS)

    FullDisk.written = 0
    served(work, f"full://{tmp_path}")
    assert newest(str(tmp_path), TABLE) is None
    assert not list((tmp_path / "items").iterdir())


def test_a_damaged_snapshot_is_not_read(tmp_path):
    async def write(_, keeper, reader):
        await reader.change("set", IDS, ROWS)
        await keeper.snapshot()

    async def read(*_):
        raise AssertionError("it opened")

    served(write, str(tmp_path))
    part = next((tmp_path / "items").glob("*/0-0.safetensors"))
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    with pytest.raises(SnapshotError, match=r"0-0\.safetensors must have sha256 .*: it is damaged"):
        served(read, str(tmp_path))


def test_a_snapshot_without_its_manifest_is_none(tmp_path):
    (tmp_path / "items/20300101T000000000000").mkdir(parents=True)
    assert newest(str(tmp_path), TABLE) is None


@pytest.mark.parametrize("ending", ["npy", "safetensors"])
def test_a_table_begins_with_the_rows_of_a_file(tmp_path, ending):
    file = str(tmp_path / f"rows.{ending}")
    if ending == "npy":
        np.save(file, ROWS)
    else:
        safetensors.numpy.save_file({"other": np.zeros(3, np.float32), "rows": ROWS}, file)

    async def read(_, __, reader):
        assert np.array_equal(await all_rows(reader), ROWS)

    served(read, None, begins=file)
    served(read, None, begins=f"file://{file}")


def test_random_rows_are_the_same_wherever_they_are_drawn():
    table = Table(name="items", rows=3000, width=64)
    once = {part.ids[0]: part.values for part in initial("normal", 3, table, ALL)}
    again = {part.ids[0]: part.values for part in initial("normal", 3, table, ALL[500:600])}
    assert all(np.array_equal(once[first], rows) for first, rows in again.items())
    assert abs(np.concatenate(list(once.values())).std() - 64**-0.5) < 0.01


@pytest.mark.parametrize(
    ("name", "rows", "rule"),
    [
        ("rows.npy", np.zeros((2999, 2), np.float32), r"must have the shape \[3000, 2\], got \[2999, 2\]"),
        ("rows.npy", np.zeros((3000, 2), np.int32), "must hold floats"),
        ("rows.txt", None, "a .npy or .safetensors file"),
        ("missing.npy", None, "a file that can be read"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path, name, rows, rule):
    file = tmp_path / name
    if rows is not None:
        np.save(file, rows)
    elif name == "rows.txt":
        file.write_text("1 2")
    with pytest.raises(SettingsError, match=rule):
        check(str(file), TABLE)
