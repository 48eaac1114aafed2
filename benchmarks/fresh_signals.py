"""How often artifacts are right on signals that were made after everything was decided.

    python -m benchmarks.fresh_signals artifacts/signals/1 artifacts/signals-teacher/1

The settings of `optimization/recipes/signals.yaml` were chosen with the published test signals of MNIST-1D in view, so
those cannot tell what the recipe is worth. These are as many again as are asked for, from seeds that nothing else has
used. The last line is JSON: of each artifact the share that is right, and its 95 % interval (Wilson).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime

from optimization.artifact.store import load
from optimization.extras import require
from optimization.measuring.evaluate import wilson

FIRST_SEED = 1_000_000
"""Recipes draw from the seeds that follow the published one, 42."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", type=Path, nargs="+", help="versions' directories")
    parser.add_argument("--signals", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = require("mnist1d.data", extra="mnist1d")
    settings = data.get_dataset_args()
    settings.num_samples, settings.train_split = options.signals, 1.0
    settings.seed = FIRST_SEED + options.seed
    made = data.make_dataset(settings)
    signals, labels = made["x"].astype(np.float32), made["y"]
    shares: dict[str, tuple[float, float, float]] = {}
    for path in options.artifacts:
        artifact = load(path)
        session = onnxruntime.InferenceSession(artifact.model_path, providers=["CPUExecutionProvider"])
        (outputs,) = session.run(None, {artifact.manifest.inputs[0].name: signals})
        num_right = int((outputs.argmax(axis=1) == labels).sum())
        share, low, high = num_right / len(labels), *wilson(num_right, len(labels))
        shares[f"{artifact.manifest.name}/{artifact.manifest.version}"] = share, low, high
        print(f"{path}: {100 * share:.2f} % of {len(labels):,} ({100 * low:.2f} to {100 * high:.2f})")
    print(json.dumps({name: [round(each, 4) for each in found] for name, found in shares.items()}))


if __name__ == "__main__":
    main()
