from optimization.readers.examples import Dataset
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe
from optimization.running import plan
from optimization.running.plan import Estimate, Stretch
from optimization.search import space


def test_every_training_is_planned_with_all_its_epochs(seed_recipe: Recipe, tumours: Dataset) -> None:
    raw = seed_recipe.model_dump(mode="json")
    raw["search"] = {"choices": {"distill.student.hidden": [[4], [64]], "distill.training.epochs": [3, 5]}}
    wanted = recipe.parse(raw)
    variants = space.variants(wanted)
    found = plan.estimate(wanted, variants, tumours)
    teacher, student = raw["teacher"]["training"]["epochs"], raw["steps"][0]["training"]["epochs"]
    assert [(each.step, each.num_epochs) for each in found.once] == [("teacher", teacher), ("control", student)]
    assert [trial[0].num_epochs for trial in found.trials] == [
        each.settings["distill.training.epochs"] for each in variants
    ]
    assert all(each.seconds > 0 for trial in found.trials for each in trial)


def test_trials_share_the_machine_and_the_teacher_does_not() -> None:
    second = Stretch(step="distill", num_epochs=1, seconds=1.0)
    found = Estimate(once=(second, second), trials=((second,),) * 6, num_at_once=3)
    assert found.seconds == 4
