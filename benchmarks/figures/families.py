"""Families of Hugging Face's text encoders: a tiny random classifier of each goes through every step of a recipe.

family ─▶ make: model, head and tokenizer in a folder ─▶ take: distil, prune, quantize, each exported ─▶ Outcome

What none of this may do is to go on with other answers than the head's own: each goes through, or is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from benchmarks.figures.setting import Figures, Setting
from optimization.errors import OptimizationError
from optimization.extras import require
from optimization.graphs import export, graph
from optimization.networks import own_head
from optimization.readers import text
from optimization.readers.examples import Dataset, Split
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe
from optimization.report.phases import Phases
from optimization.running.rehearsal import rehearse
from optimization.running.shrink import shrink
from optimization.running.teach import teach
from optimization.running.workspace import Workspace
from optimization.training.alone import Alone

KEYS = ("hf_whole",)
CLASSES = ("entailment", "neutral", "contradiction")
"""Not in the order of the alphabet, which the data have their classes in."""

_SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "embedding_size": 32,
    # the same by other names
    "dim": 32,
    "hidden_dim": 64,
    "n_layers": 2,
    "n_heads": 4,
    "emb_dim": 32,
}
_NO_SETTINGS: dict[str, Any] = {}
_SIDE_BY_SIDE = ("flaubert", "xlm")
"""Those whose layers are no list of modules, but lists of their parts: their students are made by configuration."""
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "albert": _NO_SETTINGS,
    "bert": _NO_SETTINGS,
    "big_bird": {"attention_type": "original_full"},
    "camembert": _NO_SETTINGS,
    "canine": _NO_SETTINGS,
    "convbert": {"head_ratio": 1, "conv_kernel_size": 3},
    "data2vec-text": _NO_SETTINGS,
    "deberta": _NO_SETTINGS,
    "deberta-v2": _NO_SETTINGS,
    "distilbert": _NO_SETTINGS,
    "electra": _NO_SETTINGS,
    "ernie": _NO_SETTINGS,
    "esm": {"pad_token_id": 1, "mask_token_id": 4},
    "flaubert": _NO_SETTINGS,
    "fnet": _NO_SETTINGS,
    "ibert": _NO_SETTINGS,
    "layoutlm": _NO_SETTINGS,
    "longformer": {"attention_window": 8},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 32},
    "megatron-bert": _NO_SETTINGS,
    "mobilebert": {"true_hidden_size": 16, "intra_bottleneck_size": 16, "embedding_size": 16},
    "modernbert": {"pad_token_id": 1, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
    "mpnet": _NO_SETTINGS,
    "mra": _NO_SETTINGS,
    "nystromformer": {"num_landmarks": 8, "segment_means_seq_len": 8},
    "rembert": {"input_embedding_size": 32, "output_embedding_size": 32},
    "roberta": _NO_SETTINGS,
    "roberta-prelayernorm": _NO_SETTINGS,
    "roformer": _NO_SETTINGS,
    "squeezebert": {
        f"{name}_groups": 1 for name in ("q", "k", "v", "post_attention", "intermediate", "output")
    },  # else of 4, whose channels cannot be cut one by one
    "tapas": _NO_SETTINGS,
    "xlm": _NO_SETTINGS,
    "xlm-roberta": _NO_SETTINGS,
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "yoso": {"use_expectation": True},
}
"""What a tiny one needs beside its sizes."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one of a family."""

    gap: float | None = None
    """Largest difference of a probability from the head's own, of the exported teacher."""
    parity: float | None = None
    """Largest difference of an exported model from the one it was made of."""
    refused: str | None = None
    """Why it was not taken through; none where it was."""

    @property
    def is_whole(self) -> bool:
        """Whether it came through with the head's own answers."""
        found = (self.gap, self.parity)
        return all(each is not None and each <= export.TOLERANCE for each in found)


def measure(setting: Setting) -> Figures:
    """Share of the families that go through every step, and what became of each."""
    names = sorted(FAMILIES)[::12] if setting.quick else sorted(FAMILIES)
    outcomes = {}
    for name in names:
        with TemporaryDirectory(prefix="trimtab-family-") as folder:
            found = outcomes[name] = take(name, Path(folder))
        told = f"refused: {found.refused}" if found.refused else f"gap {found.gap:.1e}, parity {found.parity:.1e}"
        print(f"  {name:22} {told}", flush=True)
    whole = [each.is_whole for each in outcomes.values()]
    refused = [each.refused is not None for each in outcomes.values()]
    return {
        "hf_whole": float(np.mean(whole)),
        "hf_refused": float(np.mean(refused)),
        "hf_families": float(len(outcomes)),
    }


def take(family: str, folder: Path) -> Outcome:
    """Take a tiny one through distillation, pruning and INT8."""
    model = make(family, folder)
    dataset = texts(folder)
    wanted = _recipe(family, folder)
    try:
        dataset = own_head.fit(wanted.teacher, dataset)
        rehearse(wanted, dataset)
        with Phases(Console(quiet=True)) as phases:
            workspace = Workspace(
                recipe=wanted,
                dataset=dataset,
                folder=folder,
                trainer=Alone(dataset.train, _Uncounted(), lambda _model: None),
                phases=phases,
                with_control=False,
            )
            shrink(workspace, teach(workspace))
    except OptimizationError as error:
        return Outcome(refused=str(error))
    teacher, *_, int8 = workspace.candidates
    own, served = answers(model, dataset.held_out), _served(teacher.path, dataset.held_out)
    assert own.std(axis=0).max() > 1e-2, "answers would be told apart"
    assert np.isfinite(_served(int8.path, dataset.held_out)).all(), "INT8 answers"
    parities = [each.parity for each in workspace.candidates if each.parity is not None]
    return Outcome(gap=float(np.abs(own - served).max()), parity=max(parities))


def make(family: str, folder: Path) -> Any:
    """A tiny classifier at random, saved to the folder with a tokenizer that pads as it expects."""
    transformers = require("transformers", extra="hf")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    known = type(transformers.AutoConfig.for_model(family))
    usual = known()
    config = known(**{name: value for name, value in {**_SIZES, **FAMILIES[family]}.items() if hasattr(usual, name)})
    config.id2label, config.label2id = dict(enumerate(CLASSES)), {name: number for number, name in enumerate(CLASSES)}
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and "embeddings" not in name:
            nn.init.normal_(weight, std=0.2)  # else all texts get almost one answer
    model.save_pretrained(folder)
    words = [f"word{number}" for number in range(_SIZES["vocab_size"])]
    pad = getattr(config, "pad_token_id", None) or 0
    words[pad], words[pad + 1] = "[PAD]", "[UNK]"
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, "[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.enable_padding(pad_id=pad, pad_token="[PAD]")
    text.save(tokenizer, folder)
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()


def texts(folder: Path, num: int = 48) -> Dataset:
    """Texts of three to nine words, of a class each, by the folder's tokenizer."""
    random = np.random.default_rng(0)
    written = [" ".join(f"word{word}" for word in random.integers(5, 60, random.integers(3, 10))) for _ in range(num)]
    names = tuple(sorted(CLASSES))
    split = text.encode(written, np.arange(num) % len(names), text.tokenizer(str(folder), 32))
    return Dataset(train=split, validation=split, held_out=split, labels=names)


def answers(model: Any, split: Split) -> NDArray[np.float32]:
    """The probabilities of transformers' own model, of shape [texts, classes]."""
    with torch.inference_mode():
        logits = model(**{name: torch.from_numpy(values) for name, values in split.inputs.items()}).logits
    found: NDArray[np.float32] = torch.softmax(logits, dim=1).numpy()
    return found


def _recipe(family: str, folder: Path) -> Recipe:
    student: dict[str, Any] = {"kind": "teacher_layers", "keep": [0]}
    if family in _SIDE_BY_SIDE:
        student = {"kind": "huggingface", "name": str(folder), "overrides": {"n_layers": 1}}
    training = {"epochs": 1, "batch_size": 16, "precision": "fp32"}
    return recipe.parse(
        {
            "name": "family",
            "workers": 1,
            "data": {"kind": "table", "train": "texts.csv", "text": "text", "tokenizer": str(folder)},
            "teacher": {"model": {"kind": "huggingface", "name": str(folder)}},
            "steps": [
                {"kind": "distill", "student": student, "training": training},
                {"kind": "prune", "ratio": 0.25, "recovery": training},
                {"kind": "quantize", "method": "dynamic", "calibration_samples": 16, "publish": "always"},
            ],
        }
    )


def _served(path: Path, split: Split) -> NDArray[np.float32]:
    return graph.predict(graph.session(path), split.inputs)


class _Uncounted:
    """Counts no steps."""

    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:
        pass
