"""Quality of a recommender trained on shards by two workers, against one process with the table inside.

MovieLens 100k, where a rating of 4 and more is what is foretold; a fifth is held out at random, by seed. Both begin
with the same rows and weights and see the same batches in the same order. What differs: workers see rows without the
last gradients, and shards take the steps. The one process is torch alone: a sparse embedding and its Adagrad.
"""

import math
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.throughput import Figures, Rounds
from deployments.embeddings import initial
from deployments.embeddings.owners import NUM_BUCKETS
from deployments.embeddings.table import Table
from optimization.measuring.ranking import auc
from optimization.recommenders import interactions, recipe
from optimization.recommenders import network as networks
from optimization.recommenders.loop import Share
from optimization.recommenders.recipe import RecommenderRecipe
from optimization.recommenders.run import run
from optimization.recommenders.table import Layout
from optimization.report.phases import Phases
from optimization.training.cluster import cluster

EPOCHS, BATCH = 3, 512
SEEDS, SEEDS_AT_LEAST = 5, 3
T_95 = {2: 4.303, 3: 3.182, 4: 2.776}
"""Of Student's distribution, by degrees of freedom."""


def quality_figures(data: Path, rounds: Rounds) -> Figures:
    """Points of AUC that the shards cost, the mean over seeds and its 95 % interval; and both qualities."""
    num_seeds = SEEDS_AT_LEAST if rounds.rounds == 1 else SEEDS
    with TemporaryDirectory() as folder, cluster(2):
        ratings = Path(folder) / "ratings.tsv"
        ratings.write_text("user\titem\trating\ttime\n" + (data / "ml-100k" / "u.data").read_text())
        wanted = [_recipe(ratings, Path(folder), seed) for seed in range(num_seeds)]
        pairs = [(_alone(each), _on_shards(each, Path(folder))) for each in wanted]
    lost = [100 * (alone - sharded) for alone, sharded in pairs]
    half = T_95[num_seeds - 1] * stdev(lost) / math.sqrt(num_seeds)
    alone, sharded = (100 * mean(each) for each in zip(*pairs, strict=True))
    return {
        "ps_train": mean(lost),
        "ps_train_low": mean(lost) - half,
        "ps_train_high": mean(lost) + half,
        "ps_train_alone": alone,
        "ps_train_shards": sharded,
    }


def _recipe(ratings: Path, folder: Path, seed: int) -> RecommenderRecipe:
    return recipe.parse(
        {
            "name": "movies",
            "seed": seed,
            "data": {"kind": "interactions", "train": str(ratings), "positive_from": 4},
            "embeddings": {"exported": str(folder / "tables")},
            "training": {"epochs": EPOCHS, "batch_size": BATCH},
        }
    )


def _on_shards(wanted: RecommenderRecipe, folder: Path) -> float:
    """AUC of what is published."""
    with Phases(Console(quiet=True)) as phases:
        made = run(wanted, folder / "artifacts", folder / "runs", phases)
    return made.manifest.measurements[-1].quality.value


def _alone(wanted: RecommenderRecipe) -> float:
    """AUC after torch has trained the same network on the same batches in one process."""
    train, held_out = interactions.load(wanted.data, wanted.seed)
    columns = interactions.sizes(wanted.data, {}, train, held_out)
    width = wanted.embeddings.width
    network = networks.build(wanted.network, len(columns), width, wanted.seed)
    layout = Layout(columns=columns, width=width, num_weights=len(networks.weights(network)))
    embedding = torch.nn.Embedding(layout.num_rows, width, sparse=True)
    embedding.weight.data = torch.from_numpy(_first_rows(layout, wanted.seed))
    optimizer = torch.optim.Adagrad([*embedding.parameters(), *network.parameters()], lr=wanted.training.learning_rate)
    shares = [
        Share(examples=train, training=wanted.training, worker=worker, num_workers=wanted.workers, seed=wanted.seed)
        for worker in range(wanted.workers)
    ]
    for step in range(EPOCHS * shares[0].steps_per_epoch):
        for batch in (share.batch(step) for share in shares):
            if not len(batch):
                continue
            optimizer.zero_grad()
            rows = embedding(torch.from_numpy(batch.ids + layout.begins))
            logits = network(*rows.unbind(dim=1))[:, 0]
            loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(batch.labels).float())
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.inference_mode():
        rows = embedding(torch.from_numpy(held_out.ids + layout.begins))
        return auc(network(*rows.unbind(dim=1))[:, 0].numpy(), held_out.labels).value


def _first_rows(layout: Layout, seed: int) -> NDArray[np.float32]:
    """The rows that the shards begin with."""
    table = Table(name="movies", rows=layout.num_rows, width=layout.width)
    rows = np.zeros((layout.num_rows, layout.width), np.float32)
    for part in initial.initial(initial.NORMAL, seed, table, np.arange(NUM_BUCKETS)):
        rows[part.ids] = part.values
    return rows
