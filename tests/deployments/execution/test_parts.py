"""An artifact of several graphs, run whole in one process or a part of it alone."""

import asyncio

import numpy as np
import pytest

from deployments.execution.load import load_predictor
from deployments.execution.session import Session
from deployments.settings import ModelSettings
from optimization.artifact import store
from optimization.artifact.store import ArtifactError
from telemetry.emitting.emitter import Emitter
from tests.parts import WIDTH, publish_two_parts

X = np.arange(3 * WIDTH, dtype=np.float32).reshape(3, WIDTH)


def test_parts_run_in_turn_where_the_whole_is_served(tmp_path):
    session = Session(publish_two_parts(tmp_path), num_threads=1, max_batch_size=8)
    assert session.is_batched
    outputs = session.run({"x": X})
    assert list(outputs) == ["y"]
    np.testing.assert_array_equal(outputs["y"], 3 * X)


def test_a_part_predicts_alone_without_the_files_of_others(tmp_path):
    published = publish_two_parts(tmp_path)
    (published.path / "first.onnx").unlink()
    second = store.load(published.path, part=2)
    settings = ModelSettings(artifact="two", artifacts=str(tmp_path / "artifacts"))
    emitter = Emitter(service="test", version="", role="test", instance="1")
    predictor = load_predictor(second, settings, has_gpu=False, emitter=emitter)

    async def ask():
        predictor.start()
        try:
            return await predictor.predict({"h": 2 * X, "x": X})
        finally:
            await predictor.stop()

    np.testing.assert_array_equal(asyncio.run(ask())["y"], 3 * X)


def test_a_part_whose_weights_lack_is_not_run(tmp_path):
    published = publish_two_parts(tmp_path)
    (published.path / "second.weights").unlink()
    with pytest.raises(ArtifactError, match=r"second\.weights is missing"):
        store.load(published.path, part=2)
