"""What was measured of a server becomes a model that the simulation can serve."""

import json

import numpy as np
import pytest
from pydantic import ByteSize

from deployments.errors import InputError
from deployments.placing.traffic import ExpectedModel, Node
from deployments.planning.capacity import predicted
from deployments.planning.measuring import repeated
from deployments.planning.service import Samples, of_samples

NODE = Node(name="n", cpus=4, memory=ByteSize(8 * 2**30))


def samples(call, empty_s=0.001, num=200):
    random = np.random.default_rng(0)
    noise = {size: 1 + 0.05 * random.random(num) for size in (1, 2, 4, 8)}
    return Samples(
        latency_s={size: tuple(empty_s + call(size) * noise[size]) for size in noise},
        empty_s=(empty_s,) * num,
        max_batch_size=16,
    )


def model(rate=1.0):
    return ExpectedModel(artifact="m", requests_per_s=rate, weights=ByteSize(0), request_s=0.0)


def test_an_idle_server_is_predicted_to_take_what_was_measured():
    measured = samples(lambda size: 0.004 + 0.006 * size)
    found = predicted(of_samples(model(), NODE, measured), 1, NODE)
    assert found.p50_s == pytest.approx(np.median(measured.latency_s[1]), rel=0.01)
    assert found.p99_s == pytest.approx(np.quantile(measured.latency_s[1], 0.99), rel=0.02)


def test_the_line_goes_through_the_means_of_calls():
    workload = of_samples(model(), NODE, samples(lambda size: 0.004 + 0.006 * size))
    assert workload.duration_s(4) == pytest.approx((0.004 + 0.024) * 1.025, rel=0.02)


def test_calls_that_cost_the_same_whatever_their_size_have_no_slope():
    workload = of_samples(model(), NODE, samples(lambda size: 0.010 - 0.0001 * size))
    assert workload.sample_s == 0
    assert workload.call_s == pytest.approx(0.010, rel=0.05)


def test_a_json_request_is_repeated_row_by_row():
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}).encode()
    (tensor,) = json.loads(repeated(body, {}, 3)[0])["inputs"]
    assert tensor["shape"] == [3, 2]
    assert tensor["data"] == [1, 2, 1, 2, 1, 2]


def test_a_binary_request_is_repeated_tensor_by_tensor():
    inputs = [
        {"name": name, "datatype": "INT8", "shape": [1, 2], "parameters": {"binary_data_size": 2}} for name in "xy"
    ]
    header = json.dumps({"inputs": inputs}).encode()
    length = "Inference-Header-Content-Length"
    body, headers = repeated(header + b"aabb", {length: str(len(header))}, 2)
    assert body[int(headers[length]) :] == b"aaaabbbb"
    assert [each["parameters"] for each in json.loads(body[: int(headers[length])])["inputs"]] == [
        {"binary_data_size": 4}
    ] * 2


@pytest.mark.parametrize("body", [b"none", b"[]", b'{"inputs": []}', b'{"inputs": [{"shape": []}]}'])
def test_what_is_no_request_cannot_be_repeated(body):
    with pytest.raises(InputError, match="the request must be one of the protocol"):
        repeated(body, {}, 2)
