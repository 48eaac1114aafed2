"""A fine-tuned model of tokens keeps its head through the recipe, and answers over HTTP as transformers does."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from torch import nn

from deployments.batching.admission import Limits
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http.model import ModelApp
from deployments.raw.inputs import accepting_raw, raw_input
from optimization.artifact import store
from optimization.artifact.store import Artifact
from optimization.errors import DataError, RecipeError
from optimization.networks import own_head
from optimization.recipe.architectures import HuggingFaceModel
from optimization.tasks.named import TASKS
from telemetry.emitting.emitter import Emitter
from tests.optimization.networks import test_own_head as heads
from tests.optimization.networks.test_encoder import CONFIGS
from tests.optimization.tasks import texts

transformers = pytest.importorskip("transformers")

CLASSES = ("O", "B-NAME", "I-NAME")
"""Not in the order of the alphabet, which the data have their classes in."""


def tagger(folder: Path, **settings: Any) -> Any:
    """A tiny model of words' classes, at random, saved to `folder`."""
    torch.manual_seed(0)
    config = type(CONFIGS["bert"]).from_dict(CONFIGS["bert"].to_dict())
    config.update({"num_hidden_layers": 1, "id2label": dict(enumerate(CLASSES)), "num_labels": 3} | settings)
    model = transformers.AutoModelForTokenClassification.from_config(config).eval()
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and "embeddings" not in name:
            nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    return model


def asked(artifact: Artifact, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
    """What a replica answers to requests that come at once."""

    async def main() -> list[dict[str, Any]]:
        emitter = Emitter(service="c", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:1")
        run = accepting_raw(artifact, Session(artifact, num_threads=1, max_batch_size=8).run, 1)
        limits = Limits(max_batch_size=8)
        predictor = Predictor(artifact.manifest, run, limits=limits, inline=True, emitter=emitter)
        app = ModelApp(predictor, raw=raw_input(artifact.manifest), max_body_bytes=65536, emitter=emitter)
        app.start()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answers = await asyncio.gather(*(client.post("/infer", json=body) for body in bodies))
        await app.stop()
        return [answer.raise_for_status().json()["outputs"][0] for answer in answers]

    return asyncio.run(main())


def of_text(text: str) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}


def of_tokens(text: str) -> dict[str, Any]:
    ids = texts.tokenizer().encode(text).ids
    tensors = {"input_ids": ids, "attention_mask": [1] * len(ids)}
    return {
        "inputs": [
            {"name": name, "datatype": "INT64", "shape": [1, len(ids)], "data": values}
            for name, values in tensors.items()
        ]
    }


def test_words_get_the_classes_that_transformers_gives_them_over_http(tmp_path: Path) -> None:
    """Texts of unequal length come at once, as text and as tokens; each answer has a row for each of its own tokens.

    The teacher is asked: ranges of its dynamic INT8 are those of a batch.
    """
    model = tagger(tmp_path)
    dataset = texts.named_words(tmp_path, 96)
    wanted = heads.wanted(tmp_path)
    wanted = wanted.model_copy(update={"teacher": wanted.teacher.model_copy(update={"publish": True})})
    workspace, artifact = heads.made(wanted, dataset, tmp_path)
    manifest, teacher = artifact.manifest, store.load(tmp_path / "artifacts" / "own-teacher" / "1")
    assert (manifest.task, manifest.labels) == ("token_classification", CLASSES)
    assert (manifest.outputs[0].shape, manifest.outputs[0].meaning) == (("batch", "sequence", 3), "logits")
    inputs = {name: torch.from_numpy(values) for name, values in dataset.held_out.inputs.items()}
    with torch.inference_mode():
        expected = model(**inputs).logits * inputs["attention_mask"][:, :, None]
    np.testing.assert_allclose(heads.answers(teacher.model_path, dataset.held_out), expected.numpy(), atol=1e-4)
    is_right = expected.argmax(dim=2).numpy() == workspace.dataset.held_out.labels
    counted = workspace.dataset.held_out.labels >= 0
    confusion = np.array(manifest.findings.confusion)
    assert confusion.sum() == counted.sum()
    assert manifest.measurements[0].quality.metric == "entity f1"
    assert 0 < is_right[counted].mean() < 1
    some = ("w1 w2-w3 w4 w5", "w6", "w7 w8", "w9 w1 w4 w2")
    by_text, by_tokens = (asked(teacher, *map(of, some)) for of in (of_text, of_tokens))
    for text, *answers in zip(some, by_text, by_tokens, strict=True):
        ids = torch.tensor([texts.tokenizer().encode(text).ids])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits
        for answer in answers:
            assert answer["shape"] == [*logits.shape]
            np.testing.assert_allclose(answer["data"], logits.flatten(), atol=1e-4)


def test_a_head_of_whole_texts_is_none_of_words_and_its_classes_must_be_the_datas(tmp_path: Path) -> None:
    tagger(tmp_path, id2label={0: "O", 1: "B-PLACE", 2: "I-PLACE"})
    dataset = texts.named_words(tmp_path, 40)
    with pytest.raises(DataError, match=r"among the model's \['O', 'B-PLACE', 'I-PLACE'\].*model.labels"):
        own_head.fit(heads.wanted(tmp_path).teacher, dataset)
    heads.fine_tuned(tmp_path)
    with pytest.raises(
        RecipeError, match=r"must be an encoder or a model ForTokenClassification .* got BertForSequence"
    ):
        own_head.find(HuggingFaceModel(kind="huggingface", name=str(tmp_path)), TASKS["token_classification"])
