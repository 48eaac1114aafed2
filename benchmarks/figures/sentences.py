"""SST-2: MiniLM-L6 fine-tuned (Wang 2020, arXiv:2002.10957; Socher 2013), and a student of two of its six layers.

The student learns the teacher's logits and pooled states, on the phrases of the data and on others made of them
(Tang 2019, arXiv:1903.12136). What takes long is kept in the results' folder: teacher, its answers, students, each by
itself.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.figures.sentence_training import Answers, answer, fine_tune, learn
from benchmarks.figures.setting import Figures, Setting
from optimization import data, evaluate, export, latency
from optimization.architectures import HuggingFaceModel
from optimization.examples import Dataset, Split
from optimization.networks import compact, encoder, weights
from optimization.networks.compact import Compact
from optimization.networks.encoder import Encoder
from optimization.quantization import quantize
from optimization.readers import text
from optimization.sources import Table

KEYS = ("sst2_teacher", "sst2_retention", "sst2_speedup", "sst2_size")
_KEEP = (0, 5)
"""The teacher's layers the student begins with: the first and the last."""
_NUM_TOKENS = 18_000
"""Of the tokenizer's 30,522: those that the training data have, then its first, which are the most frequent."""
_JOINTS = (" and ", " but ", " , ", " . ", " -- ", " ; ", " , and ", " , but ", " yet ")
_MOST_WORDS = 40
_MAX_LENGTH = 64
"""Tokens of a text, special ones included; what is longer is cut."""


def measure(setting: Setting) -> Figures:
    """Accuracy on the development set; sentences per second of their real lengths, on one thread."""
    dataset = data.load(_table(setting), seed=0)
    teacher = _teacher(dataset, setting)
    students = {name: _student(teacher, dataset, setting, name) for name in ("student", "control")}
    with TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.onnx" for name in ("teacher", "student", "control", "int8")}
        for name, model in {"teacher": teacher, **students}.items():
            export.export(model, paths[name], dataset.train, num_outputs=1)
        quantize.quantize(paths["student"], paths["int8"], [], method="dynamic")
        labels = dataset.held_out.labels
        right = {
            name: evaluate.accuracy(evaluate.predict(path, dataset.held_out), labels).value
            for name, path in paths.items()
        }
        times = latency.measure({name: paths[name] for name in ("teacher", "student", "int8")}, dataset.held_out)
        sizes = {name: path.stat().st_size for name, path in paths.items()}
    return {
        "sst2_teacher": right["teacher"],
        "sst2_student": right["int8"],
        "sst2_retention": right["int8"] / right["teacher"],
        "sst2_fp32_retention": right["student"] / right["teacher"],
        "sst2_control_retention": right["control"] / right["teacher"],
        "sst2_speedup": times["teacher"][1].median_s / times["int8"][1].median_s,
        "sst2_speedup_batch_32": times["teacher"][32].median_s / times["int8"][32].median_s,
        "sst2_fp32_speedup": times["teacher"][1].median_s / times["student"][1].median_s,
        "sst2_size": sizes["teacher"] / sizes["int8"],
    }


def _table(setting: Setting) -> Table:
    """The data; its two files name their column of text differently."""
    setting.results.mkdir(parents=True, exist_ok=True)
    held_out = setting.results / "sst2-dev.tsv"
    _, *rows = (setting.data / "sst2/dev.tsv").read_text().splitlines()
    held_out.write_text("\n".join(["label\tsentence", *rows]) + "\n")
    return Table(
        kind="table",
        train=str(setting.data / "sst2/train.tsv"),
        held_out=str(held_out),
        text="sentence",
        tokenizer=setting.minilm,
        max_length=_MAX_LENGTH,
        share=0.02 if setting.quick else 1.0,
    )


def _teacher(dataset: Dataset, setting: Setting) -> Encoder:
    torch.manual_seed(0)
    model = encoder.build(HuggingFaceModel(kind="huggingface", name=setting.minilm), num_outputs=1)
    path = setting.results / "sst2-teacher.safetensors"
    if path.exists():
        weights.load(model, str(path))
    else:
        fine_tune(model, dataset.train)
        _save(model, path)
    return model.eval()


def _answers(teacher: Encoder, dataset: Dataset, setting: Setting) -> Answers:
    """The teacher's answers on the training phrases, and after them on those that are made."""
    tokenizer = text.tokenizer(setting.minilm, _MAX_LENGTH)
    assert dataset.train.texts is not None, "the data are texts"
    made = recombined([str(each) for each in dataset.train.texts], 500 if setting.quick else 30_000)
    phrases = [*map(str, dataset.train.texts), *made]
    split = text.encode(phrases, np.zeros(len(phrases), np.int64), tokenizer)
    return answer(teacher, split, dataset.train.labels, setting.results / "sst2-answers.npz")


def _student(teacher: Encoder, dataset: Dataset, setting: Setting, name: str) -> Compact:
    """The student, or with the name "control" the same without the teacher's answers."""
    torch.manual_seed(0)
    tokenizer = text.tokenizer(setting.minilm, _MAX_LENGTH)
    model = compact.from_bert(
        teacher, _KEEP, tokens(dataset.train, tokenizer), tokenizer.token_to_id("[UNK]"), _MAX_LENGTH
    )
    path = setting.results / f"sst2-{name}.safetensors"
    if path.exists():
        weights.load(model, str(path))
    else:
        answers = _answers(teacher, dataset, setting)
        learn(model, answers, from_teacher=name == "student", epochs=0.3 if setting.quick else 2.5)
        _save(model, path)
    return model.eval()


def tokens(split: Split, tokenizer: object) -> list[int]:
    """The ids to keep: those of the data and the special ones, then the tokenizer's first words."""
    size = tokenizer.get_vocab_size()  # type: ignore[attr-defined]
    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    special = {tokenizer.token_to_id(name) for name in names}  # type: ignore[attr-defined]
    seen = set(np.unique(split.inputs["input_ids"]).tolist()) | special
    first = (each for each in range(max(special) + 1, size) if each not in seen)
    return sorted([*seen, *(each for each, _ in zip(first, range(_NUM_TOKENS - len(seen)), strict=False))])


def recombined(phrases: list[str], num: int) -> list[str]:
    """Texts of two or three phrases, some of them with words left out."""
    random = np.random.default_rng(0)
    longer = [phrase for phrase in phrases if len(phrase.split()) >= 5]
    made = []
    for _ in range(num):
        several = random.choice(longer, 2) if random.random() < 0.75 else random.choice(phrases, 3)
        joined = several[0] + "".join(str(random.choice(_JOINTS)) + each for each in several[1:])
        words = joined.split()[:_MOST_WORDS]
        if random.random() < 0.3:
            words = [word for word in words if random.random() > 0.1] or words
        made.append(" ".join(words))
    return made


def _save(model: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
