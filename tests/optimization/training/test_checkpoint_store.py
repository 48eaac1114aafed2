from pathlib import Path

import torch

from optimization.recipe.methods import Training
from optimization.recipe.recipe import Recipe
from optimization.training.checkpoint_store import CheckpointStore
from optimization.training.job import Job


def test_what_was_measured_before_a_run_stopped_is_what_it_goes_on_with(tmp_path: Path, digits_recipe: Recipe) -> None:
    def checkpoints(*, resume: bool) -> CheckpointStore:
        return CheckpointStore(tmp_path, digits_recipe, resume=resume)

    job = Job(step="teacher", model=torch.nn.Linear(1, 1), training=Training(epochs=1), seed=0)
    first = checkpoints(resume=False)
    assert first.once("costs", lambda: {"stage": 0.25}) == {"stage": 0.25}
    first.begin(job)
    assert first.once("costs", lambda: {"stage": 0.5}) == {"stage": 0.5}, "of another step"

    second = checkpoints(resume=True)
    assert second.once("costs", lambda: {"stage": 1.0}) == {"stage": 0.25}
    second.begin(job)
    assert second.once("costs", lambda: {"stage": 1.0}) == {"stage": 0.5}
    assert checkpoints(resume=False).once("costs", lambda: {"stage": 1.0}) == {"stage": 1.0}, "a run that starts anew"
