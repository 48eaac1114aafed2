"""Sampled requests on disk: as they came, redacted first, for a while."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from deployments.errors import SettingsError
from deployments.monitoring.sample_files import Sampled, expire, read, write
from deployments.monitoring.samples import Samples
from deployments.oip.tensors import Array
from deployments.settings import SampleSettings
from optimization.artifact.store import Artifact


def without_the_first(inputs: dict[str, Array]) -> dict[str, Array] | None:
    """Leave the first column out; of a row of ones keep nothing."""
    kept = inputs["features"].copy()
    kept[:, 0] = 0
    return None if (inputs["features"] == 1).all() else {"features": kept}


def failing(_: dict[str, Array]) -> dict[str, Array]:
    """Know nothing of such inputs."""
    raise LookupError("no such column")


def samples_of(artifact: Artifact, folder: Path, **settings: object) -> Samples:
    given = {"folder": folder, "max_per_s": 1e9, **settings}
    return Samples(artifact.manifest, SampleSettings.model_validate(given))


def kept_in(folder: Path) -> list[Sampled]:
    return [each for path in sorted((folder / "tiny").glob("*.npz")) for each in read(path)[1]]


def test_rows_and_labels_come_back_as_they_went(tiny_artifact: Artifact, tmp_path: Path) -> None:
    samples = samples_of(tiny_artifact, tmp_path / "samples")
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    samples.see("r1", {"features": rows})
    samples.label("r1", 1, 2)
    rows[:] = -1  # the request's memory is used again
    samples.write()
    (path,) = (tmp_path / "samples" / "tiny").iterdir()
    version, (sampled,), (label,) = read(path)
    assert version == "1"
    assert (label.request_id, label.row, label.label) == ("r1", 1, 2)
    np.testing.assert_array_equal(sampled.inputs["features"], np.arange(8, dtype=np.float32).reshape(2, 4))


def test_texts_and_bytes_come_back_as_they_went(tmp_path: Path) -> None:
    texts = np.array([["grüezi"], [b"\xff\x00"], [""]], object)
    path = write(tmp_path, "1", [Sampled(request_id="", inputs={"text": texts}, at_s=1.0)], [])
    (sampled,) = read(path)[1]
    assert sampled.inputs["text"].tolist() == [["grüezi".encode()], [b"\xff\x00"], [b""]]


def test_what_redaction_takes_away_is_never_written(tiny_artifact: Artifact, tmp_path: Path) -> None:
    samples = samples_of(tiny_artifact, tmp_path, redact=f"{__name__}:without_the_first")
    samples.see(None, {"features": np.full((1, 4), 7, np.float32)})
    samples.see(None, {"features": np.ones((1, 4), np.float32)})
    samples.write()
    (sampled,) = kept_in(tmp_path)
    assert sampled.inputs["features"].tolist() == [[0, 7, 7, 7]]


def test_where_redaction_fails_nothing_is_written(tiny_artifact: Artifact, tmp_path: Path) -> None:
    samples = samples_of(tiny_artifact, tmp_path, redact=f"{__name__}:failing")
    samples.see(None, {"features": np.zeros((1, 4), np.float32)})
    samples.write()
    assert not kept_in(tmp_path)


def test_a_redaction_that_is_not_there_is_refused(tiny_artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"samples.redact must name a function"):
        samples_of(tiny_artifact, tmp_path, redact="no_such_module:redact")


def test_files_that_are_too_old_or_too_many_go(tmp_path: Path) -> None:
    paths = [write(tmp_path, "1", [], []) for _ in range(4)]
    size = paths[0].stat().st_size
    os.utime(paths[0], (0, time.time() - 3600))
    expire(tmp_path, keep_s=1800, max_bytes=2 * size + size // 2)
    assert sorted(tmp_path.iterdir()) == sorted(paths)[2:]


def test_a_file_cut_short_is_none(tmp_path: Path) -> None:
    path = write(tmp_path, "1", [Sampled(request_id="a", inputs={"x": np.ones((1, 4))}, at_s=1.0)], [])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="must be a file of samples"):
        read(path)
