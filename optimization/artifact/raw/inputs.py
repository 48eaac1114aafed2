"""How an artifact's raw input becomes the tensors of its model, a batch at a time."""

from pathlib import Path

from optimization.artifact.manifest import Manifest, PicturePreprocessing, TextPreprocessing
from optimization.artifact.raw.pictures import pixels
from optimization.artifact.raw.prepare import Prepare
from optimization.artifact.raw.text import tokens


def preparation(manifest: Manifest, folder: Path, num_threads: int) -> Prepare | None:
    """What makes the model's tensors of raw input, with the artifact's files in `folder`; none where none is taken.

    Raises:
        ArtifactError: a file it needs is damaged, or the model wants what no such input gives.
    """
    names = [spec.name for spec in manifest.inputs]
    match manifest.preprocessing:
        case None:
            return None
        case TextPreprocessing() as text:
            return tokens(text, folder / text.tokenizer, names)
        case PicturePreprocessing() as picture:
            return pixels(picture, names[0], num_threads)
