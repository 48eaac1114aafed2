"""Random numbers that depend on a recipe's seed and on what they are for, such as `generator(7, "order", epoch)`.

Were an epoch's number added to the seed, seed 1's first epoch would be seed 0's second; numpy's seed sequences keep
them apart (O'Neill 2015, https://www.pcg-random.org/posts/developing-a-seed_seq-alternative.html).
"""

import zlib

import numpy as np


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator of its own for each seed and purpose; equal ones give equal numbers."""
    return np.random.default_rng(_sequence(seed, purpose))


def number(seed: int, *purpose: str | int) -> int:
    """A number in [0, 2^32) for what takes no generator, such as torch."""
    return int(_sequence(seed, purpose).generate_state(1)[0])


def _sequence(seed: int, purpose: tuple[str | int, ...]) -> np.random.SeedSequence:
    path = tuple(zlib.crc32(each.encode()) if isinstance(each, str) else each for each in purpose)
    return np.random.SeedSequence(seed, spawn_key=path)
