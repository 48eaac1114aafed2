"""Encoded pictures to pixels: decoded, resized, cropped, scaled, by Pillow and numpy, several at once."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

from optimization.artifact.manifest import PicturePreprocessing
from optimization.artifact.raw.prepare import Array, Prepare, RawInputError

FORMATS = ("JPEG", "PNG")
MOST_PIXELS = 64 * 10**6
"""A picture may have so many: one that claims more could fill the memory from a few bytes."""


def pixels(picture: PicturePreprocessing, name: str, num_threads: int) -> Prepare:
    """Makes the float32 tensor `name` of JPEG or PNG bytes."""
    decoders = ThreadPoolExecutor(num_threads, thread_name_prefix="picture")
    mean = np.array(picture.mean, np.float32)
    std = np.array(picture.std, np.float32)

    def one(encoded: bytes) -> Array:
        scaled = np.asarray(_cut(_decoded(encoded, picture), picture), np.float32) / 255
        normal = (scaled.reshape(picture.height, picture.width, picture.channels) - mean) / std
        return normal.transpose(2, 0, 1) if picture.layout == "NCHW" else normal

    def prepare(raw: Array) -> dict[str, Array]:
        return {name: np.stack(list(decoders.map(one, raw)))}

    return prepare


def _decoded(encoded: bytes, picture: PicturePreprocessing) -> Image.Image:
    """The picture, upright, in the model's channels; decoded in place, since each copy of a large one counts."""
    mode = "RGB" if picture.channels == 3 else "L"
    try:
        image: Image.Image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise RawInputError(
                f"input {picture.input!r}: a picture may have {MOST_PIXELS} pixels, got {image.width} x {image.height}"
            )
        ImageOps.exif_transpose(image, in_place=True)
        return image if image.mode == mode else image.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RawInputError(f"input {picture.input!r} must be a {' or '.join(FORMATS)}: {error}") from error


def _cut(image: Image.Image, picture: PicturePreprocessing) -> Image.Image:
    """The picture at its size: stretched, or scaled by its shorter side and cropped at the centre.

    The crop is made first, so that no more is scaled than is kept: a picture of 1 x 20000 pixels would become one of
    256 x 5,120,000.
    """
    return image.resize((picture.width, picture.height), Image.Resampling.BILINEAR, box=_kept(image, picture))


def _kept(image: Image.Image, picture: PicturePreprocessing) -> tuple[float, float, float, float]:
    """The part of the picture that is left of it, in its own pixels: left, top, right, bottom."""
    if picture.resize is None:
        return 0, 0, image.width, image.height
    scale = picture.resize / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    left, top = (width - picture.width) // 2, (height - picture.height) // 2
    x, y = image.width / width, image.height / height
    right, bottom = (left + picture.width) * x, (top + picture.height) * y
    return left * x, top * y, min(right, image.width), min(bottom, image.height)
