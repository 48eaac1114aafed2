"""Loads what a recipe's `data` names, and divides it: what teaches, what decides, what reports.

    data.kind ─▶ packaged │ tables │ pictures │ hub ─▶ Dataset (examples.py) ─▶ phrases, for texts

Splits and their order depend on the seed alone.
"""

from pathlib import Path

from optimization.readers import hub, packaged, phrases, pictures, tables
from optimization.readers.examples import Dataset
from optimization.recipe.sources import (
    BreastCancer,
    Data,
    Digits,
    HuggingFaceData,
    Mnist1d,
    Pictures,
    Table,
    TorchData,
)


def load(config: Data, seed: int, kept: Path = Path("runs/streams")) -> Dataset:
    """Load and split the data; equal seeds give equal splits, with the classes in equal proportion.

    What is streamed is prepared in the folder `kept`, which every node of the cluster must see.

    Raises:
        DataError: a file or column is missing, or holds what no model can learn from.
    """
    dataset = _read(config, seed, kept)
    if isinstance(config, Table | HuggingFaceData) and config.phrases is not None:
        return phrases.extend(dataset, config.phrases, seed)
    return dataset


def _read(config: Data, seed: int, kept: Path) -> Dataset:
    match config:
        case Digits():
            return packaged.digits(config, seed)
        case BreastCancer():
            return packaged.breast_cancer(config, seed)
        case Mnist1d():
            return packaged.mnist1d(config, seed)
        case Table():
            return tables.load(config, seed, kept)
        case Pictures():
            return pictures.load(config, seed, kept)
        case TorchData():
            return hub.torch_data(config, seed)
        case HuggingFaceData():
            return hub.huggingface_data(config, seed)
