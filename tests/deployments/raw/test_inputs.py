"""Text and pictures as clients have them, against the libraries that training uses."""

import asyncio
import io
import json
import subprocess
import sys

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from deployments.batching.admission import Limits
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http.model import ModelApp
from deployments.raw.inputs import accepting_raw, raw_input
from optimization.artifact.manifest import PicturePreprocessing, TextPreprocessing
from optimization.artifact.raw.pictures import pixels
from optimization.artifact.raw.prepare import RawInputError
from optimization.artifact.raw.text import tokens
from optimization.artifact.store import ArtifactError, publish
from telemetry.emitting.emitter import Emitter

TOKENS = ["input_ids", "attention_mask"]

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "small", "rudder", "turns"]


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    path = tmp_path_factory.mktemp("text") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def texts(*elements):
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def test_texts_become_ids_and_a_mask_padded_to_the_longest(tokenizer_file):
    prepare = tokens(TextPreprocessing(max_length=8), tokenizer_file, ["input_ids", "attention_mask"])
    made = prepare(texts(b"a small rudder turns", b"small", b"ocean"))
    assert made["input_ids"].dtype == np.int64
    assert made["input_ids"].tolist() == [[2, 4, 5, 6, 7, 3], [2, 5, 3, 0, 0, 0], [2, 1, 3, 0, 0, 0]]
    assert made["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0]]


def test_a_long_text_is_cut_with_its_special_tokens_kept(tokenizer_file):
    made = tokens(TextPreprocessing(max_length=4), tokenizer_file, ["input_ids"])(texts(b"a small rudder turns"))
    assert made["input_ids"].tolist() == [[2, 4, 5, 3]]


def test_text_that_is_no_utf8_is_the_clients_mistake(tokenizer_file):
    prepare = tokens(TextPreprocessing(max_length=4), tokenizer_file, ["input_ids"])
    with pytest.raises(RawInputError, match="input 'text' must be UTF-8 text"):
        prepare(texts(b"\xff\xfe"))


def test_a_tokenizer_that_cannot_be_used_fails_when_it_loads(tokenizer_file, tmp_path):
    with pytest.raises(ArtifactError, match=r"got \['pixels'\]"):
        tokens(TextPreprocessing(max_length=4), tokenizer_file, ["pixels"])
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(ArtifactError, match="is no tokenizer"):
        tokens(TextPreprocessing(max_length=4), tmp_path / "tokenizer.json", ["input_ids"])


NOISE = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)


def encoded(array, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def test_a_picture_of_the_right_size_only_changes_its_scale_and_layout():
    array = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    picture = PicturePreprocessing(height=4, width=6, mean=mean, std=std)
    (made,) = pixels(picture, "x", 2)(texts(encoded(array)))["x"]
    np.testing.assert_allclose(made, ((array / 255 - mean) / std).transpose(2, 0, 1), rtol=1e-5, atol=1e-6)
    assert made.dtype == np.float32


def test_the_centre_is_cut_after_the_shorter_side_is_scaled():
    array = np.zeros((8, 16, 3), np.uint8)
    array[:, 6:10] = 255  # a bar in the middle
    picture = PicturePreprocessing(height=8, width=4, resize=8, layout="NHWC")
    made = pixels(picture, "x", 1)(texts(encoded(array)))["x"]
    assert made.shape == (1, 8, 4, 3)
    assert made.min() == 1


@pytest.mark.parametrize("size", [(61, 47), (47, 61), (200, 90), (300, 31), (48, 48), (20, 33)])
def test_cropping_before_scaling_gives_the_pixels_of_scaling_before_cropping(size):
    array = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture = PicturePreprocessing(height=40, width=36, resize=48, layout="NHWC")
    image = Image.fromarray(array)
    scale = 48 / min(image.size)
    scaled = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (scaled.width - 36) // 2, (scaled.height - 40) // 2
    expected = np.asarray(scaled.crop((left, top, left + 36, top + 40)), np.float32)
    (made,) = pixels(picture, "x", 1)(texts(encoded(array)))["x"]
    np.testing.assert_allclose(made * 255, expected, atol=1.001)  # a pixel may be rounded the other way


PEAK_OF_A_PICTURE = """
import io, resource, sys
import numpy as np
from PIL import Image
from optimization.artifact.manifest import PicturePreprocessing
from optimization.artifact.raw.pictures import pixels

file = io.BytesIO()
Image.new("RGB", (int(sys.argv[1]), int(sys.argv[2]))).save(file, "PNG")
prepare = pixels(PicturePreprocessing(height=224, width=224, resize=256), "x", 1)
raw = np.array([file.getvalue()], object)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert prepare(raw)["x"].shape == (1, 3, 224, 224)
print(len(raw[0]), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_a_picture_takes_no_more_memory_than_its_pixels_whatever_its_shape(size):
    """One of 1 x 20,000 pixels is 118 bytes long; scaled before it was cropped, it took 5 GB."""
    command = [sys.executable, "-c", PEAK_OF_A_PICTURE, *map(str, size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    size_bytes, peak_mb = map(float, done.stdout.split())
    assert size_bytes < 1000
    assert peak_mb < 50


def test_grey_jpegs_of_any_size_share_a_batch():
    picture = PicturePreprocessing(height=8, width=8, channels=1)
    sizes = [(30, 40, 3), (9, 7, 3)]
    made = pixels(picture, "x", 2)(texts(*(encoded(np.full(size, 128, np.uint8), "JPEG") for size in sizes)))["x"]
    assert made.shape == (2, 1, 8, 8)
    np.testing.assert_allclose(made, 128 / 255, atol=0.01)


@pytest.mark.parametrize("bad", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", encoded(NOISE)[:200]])
def test_what_is_no_whole_picture_is_the_clients_mistake(bad):
    with pytest.raises(RawInputError, match="input 'image' must be a JPEG or PNG"):
        pixels(PicturePreprocessing(height=8, width=8), "x", 1)(texts(bad))


@pytest.mark.parametrize("wrong", [{"mean": (0.5, 0.5)}, {"resize": 4}])
def test_a_preprocessing_that_does_not_fit_itself_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        PicturePreprocessing(height=8, width=8, **wrong)


@pytest.fixture
def counting(tokenizer_file, tmp_path):
    """A model that sums a text's token ids; takes tokens, and text by its manifest."""
    ids, mask = (helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in TOKENS)
    total = helper.make_tensor_value_info("total", TensorProto.INT64, ["batch", 1])
    axis = numpy_helper.from_array(np.array([1]), "axis")
    nodes = [helper.make_node("Mul", TOKENS, ["kept"]), helper.make_node("ReduceSum", ["kept", "axis"], ["total"])]
    graph = helper.make_graph(nodes, "counting", [ids, mask], [total], [axis])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "model.onnx"
    )
    return publish(
        tmp_path / "artifacts",
        {"model.onnx": tmp_path / "model.onnx", "tokenizer.json": tokenizer_file},
        name="counting",
        inputs=[{"name": name, "datatype": "INT64", "shape": ["batch", "sequence"]} for name in TOKENS],
        outputs=[{"name": "total", "datatype": "INT64", "shape": ["batch", 1]}],
        preprocessing=TextPreprocessing(max_length=8),
    )


def test_text_and_its_tokens_get_the_same_answer_and_texts_share_a_batch(counting):
    session = Session(counting, num_threads=1, max_batch_size=8)
    sizes = []

    def run(feeds):
        sizes.append(len(feeds["input_ids"]))
        return session.run(feeds)

    def request(name, datatype, shape, data):
        return {"name": name, "datatype": datatype, "shape": shape, "data": data}

    text = {"inputs": [request("text", "BYTES", [2], ["a small rudder", "turns"])]}
    ids = request("input_ids", "INT64", [2, 5], [2, 4, 5, 6, 3, 2, 7, 3, 0, 0])
    tokens_ = {"inputs": [ids, request("attention_mask", "INT64", [2, 5], [1] * 5 + [1, 1, 1, 0, 0])]}
    bad = {"inputs": [request("text", "BYTES", [1], ["a"]), ids]}

    async def main():
        emitter = Emitter(service="c", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:1")
        limits = Limits(max_batch_size=8)
        run_raw = accepting_raw(counting, run, 1)
        predictor = Predictor(counting.manifest, run_raw, limits=limits, inline=True, emitter=emitter)
        app = ModelApp(predictor, raw=raw_input(counting.manifest), max_body_bytes=4096, emitter=emitter)
        app.start()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await asyncio.gather(*(client.post("/infer", json=body) for body in (text, text, tokens_, bad)))

    *good, refused = asyncio.run(main())
    assert [response.json()["outputs"][0]["data"] for response in good] == [[20, 12]] * 3
    assert sorted(sizes) == [2, 4]
    assert refused.status_code == 400
