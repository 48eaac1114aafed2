"""Families of Hugging Face: a tiny random classifier of each, of texts or pictures, goes through a recipe's steps.

family ─▶ make: model, head (and tokenizer) in a folder ─▶ take: distil, prune, quantize, each exported ─▶ Outcome

What none of this may do is to go on with other answers than the head's own: each goes through, or is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

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

_NUM_TOKENS = 60
_SIDE = 32
"""Pixels."""
_SIZES = {
    "vocab_size": _NUM_TOKENS,
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
    # of pictures
    "image_size": _SIDE,
    "patch_size": 4,
    "embed_dim": 16,
    "num_heads": [2, 4],
    "window_size": 4,
    "num_stages": 2,
    "hidden_sizes": [16, 32],
    "depths": [2, 2],
    "depth_multiplier": 0.25,
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One of them, and what is tried with it."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """What a tiny one needs beside its sizes."""
    student: Mapping[str, Any] = field(default_factory=lambda: {"kind": "teacher_layers", "keep": [0]})
    """What learns from it; its configuration makes it where its layers are no list of modules."""
    prune: Mapping[str, Any] = field(default_factory=lambda: {"ratio": 0.25})
    """What is cut."""
    method: Literal["dynamic", "static"] = "dynamic"
    """How it is put into INT8."""
    of_pictures: bool = False


def _by_configuration(**overrides: Any) -> dict[str, Any]:
    return {"kind": "huggingface", "overrides": overrides}


_STAGES = _by_configuration(depths=[1, 1])
FAMILIES: Mapping[str, Family] = {
    "albert": Family(),
    "bert": Family(),
    "big_bird": Family(settings={"attention_type": "original_full"}),
    "camembert": Family(),
    "canine": Family(),
    "convbert": Family(settings={"head_ratio": 1, "conv_kernel_size": 3}),
    "data2vec-text": Family(),
    "deberta": Family(),
    "deberta-v2": Family(),
    "distilbert": Family(),
    "electra": Family(),
    "ernie": Family(),
    "esm": Family(settings={"pad_token_id": 1, "mask_token_id": 4}),
    "flaubert": Family(student=_by_configuration(n_layers=1)),
    "fnet": Family(),
    "ibert": Family(),
    "layoutlm": Family(),
    "longformer": Family(settings={"attention_window": 8}),
    "luke": Family(settings={"entity_vocab_size": 10, "entity_emb_size": 32}),
    "megatron-bert": Family(),
    "mobilebert": Family(settings={"true_hidden_size": 16, "intra_bottleneck_size": 16, "embedding_size": 16}),
    "modernbert": Family(
        settings={"pad_token_id": 1, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
        student={"kind": "teacher_layers", "keep": [0, 1]},
        prune={"layers": 0.5},  # its units are halves of one product, its heads parts of another
    ),
    "mpnet": Family(),
    "mra": Family(),
    "nystromformer": Family(settings={"num_landmarks": 8, "segment_means_seq_len": 8}),
    "rembert": Family(settings={"input_embedding_size": 32, "output_embedding_size": 32}),
    "roberta": Family(),
    "roberta-prelayernorm": Family(),
    "roformer": Family(),
    "squeezebert": Family(
        settings={f"{each}_groups": 1 for each in ("q", "k", "v", "post_attention", "intermediate", "output")},
        prune={"ratio": 0.25, "keep": ["body.transformer.encoder.layers.0.attention"]},  # convolutions, cut into heads
    ),
    "tapas": Family(),
    "xlm": Family(student=_by_configuration(n_layers=1)),
    "xlm-roberta": Family(),
    "xmod": Family(settings={"languages": ["en_XX"], "default_language": "en_XX"}),
    "yoso": Family(settings={"use_expectation": True}),
    "beit": Family(of_pictures=True),
    "convnext": Family(of_pictures=True, student=_STAGES),
    "mobilenet_v1": Family(of_pictures=True, student=_by_configuration(), method="static"),
    "mobilenet_v2": Family(of_pictures=True, student=_by_configuration(), method="static"),
    "regnet": Family(of_pictures=True, settings={"groups_width": 8}, student=_STAGES, method="static"),
    "resnet": Family(of_pictures=True, settings={"embedding_size": 16}, student=_STAGES, method="static"),
    "swin": Family(of_pictures=True, settings={"num_attention_heads": [2, 4]}, student=_STAGES),
    "vit": Family(of_pictures=True),
}


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
    dataset, wanted = pictures() if FAMILIES[family].of_pictures else texts(folder), _recipe(family, folder)
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
    sizes = {**_SIZES, **FAMILIES[family].settings}
    config = known(**{name: value for name, value in sizes.items() if hasattr(usual, name)})
    config.id2label, config.label2id = dict(enumerate(CLASSES)), {name: number for number, name in enumerate(CLASSES)}
    torch.manual_seed(0)
    of_pictures = FAMILIES[family].of_pictures
    kind: Any = transformers.AutoModelForSequenceClassification
    if of_pictures:
        kind = transformers.AutoModelForImageClassification
    model = kind.from_config(config)
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and "embeddings" not in name:
            nn.init.kaiming_normal_(weight)  # else all get almost one answer
    if of_pictures:
        _normalize(model, pictures().train)
    model.save_pretrained(folder)
    if not of_pictures:
        text.save(_tokenizer(getattr(config, "pad_token_id", None) or 0), folder)
    return kind.from_pretrained(folder).eval()


def texts(folder: Path, num: int = 48) -> Dataset:
    """Texts of three to nine words, of a class each, by the folder's tokenizer."""
    random = np.random.default_rng(0)
    written = [" ".join(f"word{word}" for word in random.integers(5, 60, random.integers(3, 10))) for _ in range(num)]
    names = tuple(sorted(CLASSES))
    split = text.encode(written, np.arange(num) % len(names), text.tokenizer(str(folder), 32))
    return Dataset(train=split, validation=split, held_out=split, labels=names)


def pictures(num: int = 48) -> Dataset:
    """Pictures of noise on a colour, of a class each."""
    random, names = np.random.default_rng(0), tuple(sorted(CLASSES))
    noise, colours = random.normal(size=(num, 3, _SIDE, _SIDE)), random.normal(size=(num, 3, 1, 1))
    pixels = (noise + 3 * colours).astype(np.float32)
    split = Split(inputs={"pixel_values": pixels}, labels=np.arange(num) % len(names))
    return Dataset(train=split, validation=split, held_out=split, labels=names, image=pixels.shape[1:])


def answers(model: Any, split: Split) -> NDArray[np.float32]:
    """The probabilities of transformers' own model, of shape [samples, classes]."""
    with torch.inference_mode():
        logits = model(**{name: torch.from_numpy(values) for name, values in split.inputs.items()}).logits
    found: NDArray[np.float32] = torch.softmax(logits, dim=1).numpy()
    return found


def _recipe(name: str, folder: Path) -> Recipe:
    family, own = FAMILIES[name], {"kind": "huggingface", "name": str(folder)}
    student = {**own, **family.student} if family.student["kind"] == "huggingface" else {**family.student}
    training = {"epochs": 1, "batch_size": 16, "precision": "fp32"}
    data: dict[str, Any] = {"kind": "table", "train": "texts.csv", "text": "text", "tokenizer": str(folder)}
    if family.of_pictures:
        data = {"kind": "pictures", "train": "pictures", "height": _SIDE, "width": _SIDE}
    int8 = {"kind": "quantize", "method": family.method, "calibration_samples": 16, "max_changed": 0.5}
    return recipe.parse(
        {
            "name": "family",
            "workers": 1,
            "data": data,
            "teacher": {"model": own},
            "steps": [
                {"kind": "distill", "student": student, "training": training},
                {"kind": "prune", **family.prune, "recovery": training},
                int8,
            ],
        }
    )


def _normalize(model: nn.Module, split: Split) -> None:
    """Let batch norms know what they are given, as after a training; else deep ones let nothing pass."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(**{name: torch.from_numpy(values) for name, values in split.inputs.items()})
    model.eval()


def _tokenizer(pad: int) -> tokenizers.Tokenizer:
    """One that knows words by number, and pads with that token."""
    words = [f"word{number}" for number in range(_NUM_TOKENS)]
    words[pad], words[pad + 1] = "[PAD]", "[UNK]"
    numbers = {word: number for number, word in enumerate(words)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.enable_padding(pad_id=pad, pad_token="[PAD]")
    return made


def _served(path: Path, split: Split) -> NDArray[np.float32]:
    return graph.predict(graph.session(path), split.inputs)


class _Uncounted:
    """Counts no steps."""

    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:
        pass
