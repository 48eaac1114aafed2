from pathlib import Path

from optimization.training.checkpoint_store import CheckpointStore


def test_what_was_measured_is_what_a_later_run_goes_on_with(tmp_path: Path) -> None:
    """Time measured anew would differ, other layers would be cut, and all would be trained anew."""
    first = CheckpointStore(tmp_path, "toy")
    assert first.once("costs", {"model": "a"}, lambda: {"stage": 0.25}) == {"stage": 0.25}
    assert first.once("costs", {"model": "b"}, lambda: {"stage": 0.5}) == {"stage": 0.5}, "of another model"
    second = CheckpointStore(tmp_path, "toy")
    assert second.once("costs", {"model": "a"}, lambda: {"stage": 1.0}) == {"stage": 0.25}
    fresh = CheckpointStore(tmp_path, "toy", fresh=True)
    assert fresh.once("costs", {"model": "a"}, lambda: {"stage": 1.0}) == {"stage": 1.0}
    assert fresh.once("costs", {"model": "a"}, lambda: {"stage": 2.0}) == {"stage": 1.0}, "made by this very run"


def test_a_checkpoint_that_is_damaged_is_not_used(tmp_path: Path) -> None:
    entry = CheckpointStore(tmp_path, "toy").find("teacher", {"seed": 1})
    (entry.folder / "trained.checkpoint").write_bytes(b"PK\x03\x04")
    assert CheckpointStore(tmp_path, "toy").find("teacher", {"seed": 1}).trained is None
