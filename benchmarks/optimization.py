"""The figures of the optimization, each from a recipe or a training of Trimtab's own.

Needs the data of the benchmarks (`--data`), Fashion-MNIST (Debian's dataset-fashion-mnist), for `sst2_*` MiniLM-L6, and
for these and `hf_whole` the extra `hf`. A run whose recipe has not changed is found again under `--results`, so that a
stopped benchmark goes on where it was.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ray.exceptions import RayError

from benchmarks.figures import (
    bringing,
    families,
    fashion,
    pictures,
    quantization,
    sentences,
    setting,
    signals,
    training,
)
from benchmarks.figures.setting import Figures, Setting
from benchmarks.measurements import verdict
from optimization.errors import OptimizationError

AT_LEAST = {
    "sst2_teacher": 0.895,
    "sst2_retention": 0.99,
    "sst2_speedup": 10,
    "sst2_size": 8,
    "sst2_light_retention": 0.98,
    "sst2_light_speedup": 25,
    "hf_whole": 0.9,
    "bring_retention": 0.97,
    "bring_speedup": 3,
    "cifar_retention": 0.99,
    "cifar_speedup": 4,
    "mnist1d_mlp": 66,
    "mnist1d_cnn": 92,
    "hinton3pct_gain": 1,
    "train_overhead": 0.95,
    "cache_speedup": 1.5,
}
AT_MOST = {"han12x_loss": 0.6, "int8_drop": 1, "int8_size": 0.35, "resume_gap": 1e-6, "bring_minutes": 10}

FAMILIES: dict[tuple[str, ...], Callable[[Setting], Figures]] = {
    signals.KEYS: signals.measure,
    quantization.KEYS: quantization.measure,
    ("cache_speedup",): training.measure_cache,
    ("resume_gap",): training.measure_resume,
    ("train_overhead",): training.measure_overhead,
    ("hinton3pct_gain",): fashion.measure_soft_targets,
    ("han12x_loss",): fashion.measure_pruned,
    sentences.KEYS: sentences.measure,
    sentences.LIGHT_KEYS: sentences.measure_light,
    pictures.KEYS: pictures.measure,
    families.KEYS: families.measure,
    bringing.KEYS: bringing.measure,
}


def main() -> int:
    """Measure and print; the last line is JSON. The exit code is 1 where a figure could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="KEY", choices=[*AT_LEAST, *AT_MOST], help="these figures alone")
    parser.add_argument("--quick", action="store_true", help="a part of the data, one epoch: shows the way, not values")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the benchmarks' data")
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), metavar="FOLDER")
    parser.add_argument("--minilm", default=setting.minilm(), help="MiniLM-L6: a folder or a hub name")
    parser.add_argument("--results", type=Path, help="where artifacts are kept (default: artifacts/figures[-quick])")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of sst2_* and cifar_*: their mean and worst")
    options = parser.parse_args()
    chosen = Setting(
        data=options.data.absolute(),
        fashion=options.fashion,
        minilm=options.minilm,
        results=options.results or Path("artifacts") / ("figures-quick" if options.quick else "figures"),
        quick=options.quick,
        seeds=options.seeds,
    )
    families = [keys for keys in FAMILIES if not options.only or set(keys) & set(options.only)]
    outcomes = [_measure(keys, chosen) for keys in families]
    figures = {key: value for found in outcomes if found is not None for key, value in found.items()}
    print(json.dumps({"quick": options.quick, **{key: round(value, 4) for key, value in figures.items()}}))
    return 1 if None in outcomes else 0


def _measure(keys: tuple[str, ...], chosen: Setting) -> Figures | None:
    """Measure a family, and print what was found; none where it could not be measured."""
    print(f"{', '.join(keys)} ...", file=sys.stderr, flush=True)
    began = time.perf_counter()
    try:
        found = FAMILIES[keys](chosen)
    except (OptimizationError, OSError, RayError, subprocess.SubprocessError) as error:
        print(f"  not measured: {error}", flush=True)
        return None
    for key, value in found.items():
        print(f"  {key:32} {value:10.4g}  {verdict(key, value, at_least=AT_LEAST, at_most=AT_MOST)}", flush=True)
    print(f"  in {time.perf_counter() - began:.0f} s", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
