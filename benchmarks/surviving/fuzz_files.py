"""Malformed files, read as commands do: `python -m benchmarks.surviving.fuzz_files KIND SEED NUMBER`.

Each kind has its one error, which says what is wrong; any other is a crash. It runs in a process of its own, so that
one that ends is seen as what it is. The last line is JSON: tried, refused, crashes, hangs.
"""

import json
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.surviving import mutations
from benchmarks.surviving.models import walking
from deployments.errors import SettingsError
from deployments.manifests import files
from deployments.manifests.values import Values
from deployments.settings import parse
from optimization.artifact import signature, store
from optimization.artifact.store import MANIFEST, ArtifactError
from optimization.errors import RecipeError
from optimization.recipe import recipe
from optimization.recommenders import recipe as recommenders
from optimization.sequences import recipe as pairs

LONGEST_S = 60
"""For one input; longer is a hang."""
KINDS = ("artifacts", "recipes", "manifests")

Try = Callable[[], object]


def artifacts(rng: random.Random) -> Iterator[tuple[Try, type[Exception]]]:
    """A published, signed version of which a file or the manifest was changed, loaded and its signature checked."""
    with tempfile.TemporaryDirectory() as folder:
        path = walking(Path(folder) / "artifacts").path
        key = signature.make_key(Path(folder) / "key.pem")
        signature.sign(path, Path(folder) / "key.pem")
        sound = {file.name: file.read_bytes() for file in path.iterdir()}
        manifest = json.loads(sound[MANIFEST])
        at = Path(folder) / "altered"

        def opened() -> object:
            signature.check(at, [key], name="walking", version="1")
            return store.load(at)

        while True:
            shutil.rmtree(at, ignore_errors=True)
            shutil.copytree(path, at)
            name = rng.choice([MANIFEST, MANIFEST, *sound])
            if name == MANIFEST and rng.random() < 0.5:
                changed = json.dumps(mutations.of_values(rng, manifest)).encode()
            else:
                changed = mutations.of_bytes(rng, sound[name], rng.choice(list(sound.values())))
            (at / name).write_bytes(changed)
            yield (lambda: store.load(at)) if rng.random() < 0.5 else opened, ArtifactError


def recipes(rng: random.Random) -> Iterator[tuple[Try, type[Exception]]]:
    """A recipe that is shipped, changed as text or by values, read and checked."""
    texts = [file.read_bytes() for file in sorted(Path("optimization/recipes").glob("*.yaml"))]
    parsed = [yaml.safe_load(text) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.yaml"

        def read() -> object:
            raw = recipe.read(file)
            kinds: dict[Any, Callable[[dict[str, Any]], object]] = {
                "pairs": pairs.parse,
                "interactions": recommenders.parse,
            }
            kind = recipe.kind_of_data(raw)
            return kinds.get(kind if isinstance(kind, str) else None, recipe.parse)(raw)

        while True:
            if rng.random() < 0.5:
                file.write_bytes(mutations.of_bytes(rng, rng.choice(texts), rng.choice(texts)))
            else:
                file.write_text(json.dumps(mutations.of_values(rng, rng.choice(parsed))))  # which is YAML, too
            yield read, RecipeError


def manifests(rng: random.Random) -> Iterator[tuple[Try, type[Exception]]]:
    """What `python -m deployments manifest` is given, one of the three changed; and manifests of artifacts."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = json.loads((walking(Path(folder)).path / MANIFEST).read_bytes())
    config, cluster = (yaml.safe_load(Path(name).read_text()) for name in ("serve_config.yaml", "cluster.yaml"))
    values = Values.model_validate({"namespace": "trimtab"}).model_dump(mode="json", by_alias=True)
    given: list[Any] = [config, cluster, values]

    def kubernetes(config: Any, cluster: Any, values: Any) -> object:
        return files.manifests(config, cluster, parse(Values, values, "values"))

    while True:
        if rng.random() < 0.5:
            changed = json.dumps(mutations.of_values(rng, manifest)).encode()
            yield partial(store.parse_manifest, changed, MANIFEST), ArtifactError
            continue
        which = rng.randrange(3)
        altered = mutations.of_values(rng, given[which])
        if not isinstance(altered, dict):  # the command says so itself
            continue
        three = [altered if number == which else each for number, each in enumerate(given)]
        yield partial(kubernetes, *three), SettingsError


def tried(kind: str, seed: int, number: int, longest_s: int = 0) -> dict[str, int]:
    """So many inputs of the kind; with `longest_s`, one that takes longer is a hang."""
    counts = {"tried": 0, "refused": 0, "crashes": 0, "hangs": 0}
    inputs = {"artifacts": artifacts, "recipes": recipes, "manifests": manifests}[kind](random.Random(seed))
    for _ in range(number):
        attempt, refusal = next(inputs)
        counts["tried"] += 1
        if longest_s:
            signal.alarm(longest_s)
        try:
            attempt()
        except refusal:
            counts["refused"] += 1
        except _HangError:
            counts["hangs"] += 1
        except Exception:  # noqa: BLE001 - whatever else it is, it is counted and shown
            counts["crashes"] += 1
            if counts["crashes"] <= 3:
                traceback.print_exc()
        finally:
            if longest_s:
                signal.alarm(0)
    return counts


class _HangError(BaseException):
    """An input took too long."""


def _too_long(*_: Any) -> None:
    raise _HangError


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _too_long)
    print(json.dumps(tried(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), LONGEST_S)))
