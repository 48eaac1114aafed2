"""The tasks of labelled examples, by what a recipe calls them: a new one is a line here and one in the manifest."""

from typing import Final

from optimization.artifact.manifest import LabelledKind
from optimization.tasks.classification import Classification
from optimization.tasks.embedding import Embedding
from optimization.tasks.multi_label import MultiLabel
from optimization.tasks.ranking import Ranking
from optimization.tasks.regression import Regression
from optimization.tasks.task import LabelledTask
from optimization.tasks.token_classification import TokenClassification

TASKS: Final[dict[LabelledKind, LabelledTask]] = {
    "classification": Classification(),
    "multi_label": MultiLabel(),
    "regression": Regression(),
    "token_classification": TokenClassification(),
    "embedding": Embedding(),
    "ranking": Ranking(),
}
