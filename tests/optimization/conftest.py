from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from optimization.readers import data
from optimization.readers.examples import Dataset, Split
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe

RECIPES = Path("optimization/recipes")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One cluster for all tests that need Ray; code under test finds and keeps it."""
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=40)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def digits_recipe() -> Recipe:
    return recipe.load(RECIPES / "digits.yaml")


@pytest.fixture(scope="session")
def seed_recipe() -> Recipe:
    return recipe.load(RECIPES / "seed.yaml")


@pytest.fixture(scope="session")
def digits(digits_recipe: Recipe) -> Dataset:
    return data.load(digits_recipe.data, seed=0)


@pytest.fixture(scope="session")
def tumours(seed_recipe: Recipe) -> Dataset:
    return data.load(seed_recipe.data, seed=0)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def points(random: np.random.Generator) -> Split:
    """Two classes in eight dimensions, a plane apart."""
    inputs = random.normal(size=(200, 8)).astype(np.float32)
    return Split(inputs={"x": inputs}, labels=(inputs.sum(axis=1) > 0).astype(np.int64))
