"""What a model has answered, against sums by hand."""

import orjson
import pytest

from deployments.execution.prediction import BatchDone, Prediction
from deployments.http.asgi import Answer
from deployments.oip.model_config import model_config
from deployments.oip.protocol_grpc import to_message
from deployments.oip.statistics import Statistics, together
from optimization.artifact.manifest import TensorSpec


class Manifest:
    name = "m"

    def __init__(self, *shapes):
        self.inputs = tuple(TensorSpec(name="x", datatype="BYTES", shape=shape) for shape in shapes)
        self.outputs = (TensorSpec(name="y", datatype="BF16", shape=("batch", 3)),)


def replica(version="1", at=0):
    """Two requests answered in one batch of three samples, and one refused."""
    counted = Statistics("m", version)
    counted.batch(BatchDone(num_samples=3, duration_s=6e-9, input_s=2e-9, output_s=3e-9))
    for start in (0, 1):
        prediction = Prediction(outputs={}, submitted_ns=at + 2, started_ns=at + 5, ended_ns=at + 9)
        counted.request(at + start, at + 12, prediction, has_failed=False)
    counted.request(at, at + 7, None, has_failed=True)
    return counted.snapshot()


def test_durations_and_counts_add_up():
    told = replica(at=5_000_000)
    assert (told["inference_count"], told["execution_count"], told["last_inference"]) == (3, 1, 5)
    stats = told["inference_stats"]
    assert stats["success"] == {"count": 2, "ns": 12 + 11}
    assert stats["fail"] == {"count": 1, "ns": 7}
    assert stats["compute_input"] == {"count": 2, "ns": 2 + 1}
    assert stats["queue"] == {"count": 2, "ns": 3 + 3}
    assert stats["compute_infer"] == {"count": 2, "ns": 4 + 4}
    assert stats["compute_output"] == {"count": 2, "ns": 3 + 3}
    (batch,) = told["batch_stats"]
    durations = {name: {"count": 1, "ns": ns} for name, ns in {"input": 2, "infer": 4, "output": 3}.items()}
    assert batch == {"batch_size": 3, **{f"compute_{name}": duration for name, duration in durations.items()}}


def test_an_answer_from_the_cache_succeeds_and_computes_nothing():
    counted = Statistics("m", "1")
    counted.request(3, 5, None, has_failed=False)
    stats = counted.snapshot()["inference_stats"]
    assert stats["success"] == stats["cache_hit"] == {"count": 1, "ns": 2}
    assert stats["queue"] == stats["compute_infer"] == {"count": 0, "ns": 0}


def test_replicas_are_told_as_one_and_versions_apart():
    first, second = together([[replica("2"), replica("10")], [replica("2", at=9_000_000)]])
    assert (first["version"], second["version"]) == ("2", "10")
    assert (first["inference_count"], first["last_inference"]) == (6, 9)
    assert first["inference_stats"]["success"] == {"count": 4, "ns": 46}
    assert first["batch_stats"][0]["compute_infer"] == {"count": 2, "ns": 8}
    assert second == replica("10")


@pytest.mark.parametrize(
    ("shape", "is_batched", "max_batch_size", "dims"),
    [(("batch", 4), True, 100, [4]), (("batch", "length"), True, 100, [-1]), ((2, "length"), False, 0, [2, -1])],
)
def test_the_configuration_leaves_out_the_batch_as_triton_does(shape, is_batched, max_batch_size, dims):
    config = model_config(Manifest(shape), is_batched=is_batched, max_request_samples=100, max_batch_size=8)
    assert config["max_batch_size"] == max_batch_size
    assert config["input"] == [{"name": "x", "data_type": "TYPE_STRING", "dims": dims}]
    assert config["output"][0]["data_type"] == "TYPE_BF16"
    assert ("dynamic_batching" in config) is is_batched


def test_the_configuration_says_that_a_large_request_is_split_in_json_and_in_grpc():
    config = model_config(Manifest(("batch", 4)), is_batched=True, max_request_samples=100, max_batch_size=8)
    assert config["dynamic_batching"] == {"preferred_batch_size": [8]}
    said = config["parameters"]["larger_requests"]["string_value"]
    assert said == "a request of more than 8 samples is answered by several calls, in order"
    message = to_message("ModelConfig", Answer(status=200, headers=(), body=orjson.dumps(config)))
    assert message.config.parameters["larger_requests"].string_value == said
    assert message.config.dynamic_batching.preferred_batch_size == [8]
