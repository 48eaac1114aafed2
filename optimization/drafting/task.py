"""What the model may be for that a recipe is drafted for; recipes of other tasks are written by hand."""

from typing import Literal

DraftedTask = Literal["classification", "multi_label", "regression"]
