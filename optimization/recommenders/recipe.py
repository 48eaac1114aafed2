"""What a recipe of a recommender may say: who chose what, tables for them, a network over their rows.

A recipe is one of a recommender if its data is: `data: {kind: interactions, ...}`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from optimization.errors import RecipeError
from optimization.recipe import wording
from optimization.recipe.recipe import Named
from optimization.recipe.settings import Count, Index, Positive, Ratio, Settings, misfit, rule

Columns = Annotated[tuple[str, ...], Field(min_length=2), rule("name at least 2 columns")]
Hidden = Annotated[tuple[Count, ...], rule("be a list of whole numbers of at least 1")]


class Interactions(Settings):
    """A CSV, TSV, JSONL or Parquet file of ids and what came of them, read through Ray Data."""

    kind: Literal["interactions"]
    """Selects this data."""
    train: str
    """The file, or a folder of such files."""
    columns: Columns = ("user", "item")
    """Columns of ids, whole numbers from 0; each has a table of embeddings."""
    label: str = "rating"
    """Column of what came of it, a number."""
    positive_from: float = 1.0
    """What is at least so much is what the model foretells: 1 for clicks, 4 for ratings of 1 to 5."""
    time: str | None = None
    """Column to sort by: the newest are held out. Without it they are drawn at random."""
    held_out: Ratio = 0.2
    """Fraction of the interactions kept from training, in (0, 1)."""


class Embeddings(Settings):
    """Tables on shards of `deployments.app:embeddings`, trained where they lie."""

    width: Count = 16
    """Elements of a row."""
    rows: dict[str, Count] = Field(default={})
    """Rows of a column's table; where it is not named, the largest id and one."""
    shards: Count = 2
    """Processes that hold the rows, on as many nodes as there are."""
    copies: Count = 2
    """Shards that hold each row; with 1, a shard that dies takes its rows back to the end of the last epoch."""
    snapshots: str | None = None
    """Directory that all nodes share, or URL, where the tables are kept after each epoch until all is done; without
    it, below `--runs`."""
    exported: str = "tables"
    """Directory or URL for the trained tables: `<exported>/<name>/<time>/<column>.npy`."""


class Network(Settings):
    """A factorization machine and a perceptron over the same rows (DeepFM, Guo 2017, arXiv:1703.04247)."""

    hidden: Hidden = (64, 32)
    """Units of the perceptron's layers; none leaves the products of the rows, and the rows themselves."""


class Pushing(Settings):
    """How workers learn; each goes its own way, and their gradients meet in the tables."""

    epochs: Count
    """Passes over the interactions."""
    batch_size: Count = 256
    """Interactions of one step of one worker."""
    optimizer: Literal["adagrad", "sgd"] = "adagrad"
    """What shards make of gradients, torch's rule in either case; Adagrad keeps as much again beside the rows."""
    learning_rate: Positive = 0.05
    """Of rows and network alike."""
    max_delay: Index = 4
    """Steps that a worker may be ahead of what all have pushed and every copy has (bounded delay, Li 2014, OSDI);
    with 0, each step sees all before it."""


class RecommenderRecipe(Named):
    """How to make one recommender."""

    data: Interactions
    """What to learn from."""
    embeddings: Embeddings = Embeddings()
    """Where the rows lie."""
    network: Network = Network()
    """What makes a probability of a row of each column."""
    training: Pushing
    """How both learn."""

    @model_validator(mode="after")
    def _fit_together(self) -> "RecommenderRecipe":
        if self.min_workers is not None:
            raise misfit("min_workers must be left out for a recommender, whose workers are as many as begin", "it")
        if self.embeddings.shards < self.embeddings.copies:
            raise misfit(
                f"embeddings.shards must be at least copies ({self.embeddings.copies})", self.embeddings.shards
            )
        if unknown := sorted(set(self.embeddings.rows) - set(self.data.columns)):
            raise misfit(f"embeddings.rows must name columns of {', '.join(self.data.columns)}", unknown[0])
        return self


def parse(raw: dict[str, Any]) -> RecommenderRecipe:
    """Check the settings `raw`.

    Raises:
        RecipeError: settings break their rules, or name files that are not there; the message names all, one a line.
    """
    recipe = wording.checked(RecommenderRecipe, raw)
    if not Path(recipe.data.train).exists():
        raise RecipeError(f"data.train must exist, got {recipe.data.train!r}")
    return recipe
