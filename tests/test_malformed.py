"""Malformed files are one clear error each; the benchmark's mutations, in small."""

import json
import random

import pytest

from benchmarks.surviving import fuzz_files, mutations
from deployments.errors import SettingsError
from deployments.launch import preflight
from optimization.artifact.store import ArtifactError, parse_manifest
from optimization.errors import RecipeError
from optimization.recipe import recipe

DEEP = "[" * 5000


@pytest.mark.parametrize("kind", fuzz_files.KINDS)
def test_whatever_a_file_holds_it_is_read_or_refused_by_its_own_error(kind):
    counts = fuzz_files.tried(kind, seed=7, number=60)
    assert (counts["tried"], counts["crashes"]) == (60, 0)
    assert counts["refused"] > 20


def test_what_is_nested_too_deeply_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no JSON"):
        parse_manifest(DEEP.encode(), "manifest.json")
    (tmp_path / "recipe.yaml").write_text(DEEP)
    with pytest.raises(RecipeError, match="no YAML"):
        recipe.load(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"http_options": [1]}, "http_options must be of type dict"),
        ({"http_options": {"port": "80"}}, "http_options.port must be of type int"),
        ({"grpc_options": {"grpc_servicer_functions": 3}}, "grpc_servicer_functions must be of type list"),
        ({"applications": [{"name": "m", "args": 3}]}, "application 'm': args must be of type dict"),
        ({"applications": [{"name": "m", "import_path": 3}]}, "application 'm': import_path must be of type str"),
        ({"applications": {}, "http_options": None}, None),
    ],
)
def test_a_serve_config_of_the_wrong_kinds_is_one_clear_error(config, message):
    if message is None:
        preflight.check_shape(config)
        return
    with pytest.raises(SettingsError, match=message):
        preflight.check(config, ports=False)


def test_a_seed_gives_the_same_mutations_and_another_others():
    valid = {"a": [1, {"b": "c"}], "d": None}

    def made(seed):
        rng = random.Random(seed)
        values = [repr(mutations.of_values(rng, valid)) for _ in range(20)]
        return values, [mutations.of_bytes(rng, json.dumps(valid).encode(), b"other") for _ in range(20)]

    assert made(1) == made(1) != made(2)
    assert valid == {"a": [1, {"b": "c"}], "d": None}, "what is valid stays so"
