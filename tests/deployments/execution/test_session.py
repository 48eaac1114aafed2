"""ONNX Runtime behind the protocol's datatypes: every one of them through a real session."""

import time

import numpy as np
import onnxruntime
import pytest

from deployments.errors import RequestError
from deployments.execution.graph_session import GraphSession
from deployments.execution.session import Session
from deployments.oip.tensors import DTYPES
from optimization.artifact.store import ArtifactError
from tests.conftest import expected_probabilities
from tests.served import ONNX_TYPES, publish_same, publish_string


def session(root, datatype):
    """A model that gives back what it is given."""
    return Session(publish_same(root, (datatype,)), num_threads=1, max_batch_size=8)


def test_every_datatype_of_the_protocol_is_covered():
    assert ONNX_TYPES.keys() == DTYPES.keys()


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_a_tensor_survives_the_session(tmp_path, datatype):
    if datatype == "BYTES":
        array = np.array([[b"", "déjà".encode()], [b"nul\0", b"b'x'"]], dtype=object)
    else:
        array = np.array([[0, 1], [1, 0]]).astype(DTYPES[datatype])
    (same,) = session(tmp_path, datatype).run({f"in_{datatype}": array}).values()
    if datatype == "BYTES":
        same = np.vectorize(str.encode, otypes=[object])(same)
    assert same.dtype == array.dtype
    assert same.tolist() == array.tolist()


def test_text_that_is_not_utf8_is_the_clients_error(tmp_path):
    with pytest.raises(RequestError, match="input 'in_BYTES': the model takes text, element 1 is no UTF-8"):
        session(tmp_path, "BYTES").run({"in_BYTES": np.array([[b"a", b"\xff"]], dtype=object)})


def test_a_model_that_reads_numbers_from_text_is_warmed_up_and_answers(tmp_path):
    """It refuses text that is no number, the empty one too."""
    session = Session(publish_string(tmp_path), num_threads=1, max_batch_size=8)
    first, second = (np.array([[str(n).encode() for n in row]], object) for row in (range(16), [1] * 16))
    outputs = session.run({"INPUT0": first, "INPUT1": second})
    assert outputs["OUTPUT0"].tolist() == [[str(n + 1) for n in range(16)]]
    assert outputs["OUTPUT1"].tolist() == [[str(n - 1) for n in range(16)]]


def test_without_a_gpu_auto_runs_on_the_cpu_and_says_so(tiny_artifact, caplog):
    session = Session(tiny_artifact, num_threads=1, max_batch_size=4, accelerator="auto")
    assert session.run({"features": np.zeros((1, 4), np.float32)})["probabilities"].shape == (1, 3)
    assert "runs on the CPU of this node, not on a GPU: this build of ONNX Runtime has no CUDA" in caplog.text


def test_a_gpu_that_is_demanded_and_does_not_load_is_refused(tiny_artifact):
    with pytest.raises(ArtifactError, match="accelerator must be auto or cpu on this node, got gpu: "):
        Session(tiny_artifact, num_threads=1, max_batch_size=4, accelerator="gpu")


@pytest.mark.parametrize("loads", [True, False])
@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cpu"])
def test_a_provider_that_is_there_but_does_not_load_is_never_taken_for_one_that_does(
    tiny_artifact, tmp_path, monkeypatch, accelerator, loads
):
    """ONNX Runtime as it behaves where CUDA's libraries lack: it lists the provider, warns, and goes on without it."""
    listed, asked, bound = ["CUDAExecutionProvider", "CPUExecutionProvider"], [], []
    real = onnxruntime.InferenceSession

    class WithoutLibraries(real):
        def __init__(self, model, options, providers):
            asked.append(providers)
            super().__init__(model, options, providers=["CPUExecutionProvider"])

        def get_providers(self):
            return asked[-1] if loads else super().get_providers()

        def run_with_iobinding(self, *args):
            bound.append(args)
            super().run_with_iobinding(*args)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    monkeypatch.setattr(onnxruntime, "InferenceSession", WithoutLibraries)
    options = {"num_threads": 1, "max_batch_size": 4, "cache": tmp_path, "accelerator": accelerator}
    if accelerator == "gpu" and not loads:
        with pytest.raises(ArtifactError, match="CUDAExecutionProvider did not load"):
            Session(tiny_artifact, **options)
        return
    session = Session(tiny_artifact, **options)
    features = np.array([[1, 2, 3, 4], [0, 0, 1, 0]], np.float32)
    outputs = session.run({"features": features})
    np.testing.assert_allclose(outputs["probabilities"], expected_probabilities(features), rtol=1e-5)
    assert asked[0] == (["CPUExecutionProvider"] if accelerator == "cpu" else listed)
    assert bool(bound) == (accelerator != "cpu" and loads)


def test_the_largest_batch_does_not_hang_on_what_else_the_machine_does(tiny_artifact, monkeypatch):
    """Replicas start side by side: the time that others have the processor is not the model's."""
    computed = GraphSession.run

    def interrupted(self, feeds):
        batch_size = len(feeds["features"])
        begin_s = time.thread_time()
        while time.thread_time() - begin_s < 0.001:  # as long, whatever the batch
            outputs = computed(self, feeds)
        time.sleep(0.02 * (batch_size > 1))  # when it has more than one
        return outputs

    monkeypatch.setattr(GraphSession, "run", interrupted)
    assert Session(tiny_artifact, num_threads=1, max_batch_size=8).max_batch_size == 8
