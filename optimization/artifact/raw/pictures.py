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
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise RawInputError(
                f"input {picture.input!r}: a picture may have {MOST_PIXELS} pixels, got {image.width} x {image.height}"
            )
        return ImageOps.exif_transpose(image).convert("RGB" if picture.channels == 3 else "L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RawInputError(f"input {picture.input!r} must be a {' or '.join(FORMATS)}: {error}") from error


def _cut(image: Image.Image, picture: PicturePreprocessing) -> Image.Image:
    """The picture at its size: stretched, or scaled by its shorter side and cropped at the centre."""
    wanted = (picture.width, picture.height)
    if picture.resize is None:
        return image.resize(wanted, Image.Resampling.BILINEAR)
    scale = picture.resize / min(image.size)
    scaled = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (scaled.width - picture.width) // 2, (scaled.height - picture.height) // 2
    return scaled.crop((left, top, left + picture.width, top + picture.height))
