"""How far a training is: what the tables have, though the run ended at any moment."""

from optimization.recommenders.progress import Progress


def test_a_snapshot_that_was_written_but_not_noted_is_one_epoch_further(tmp_path):
    progress = Progress(str(tmp_path / "snapshots"))
    assert progress.epochs_done(None) == 0
    assert progress.epochs_done("file:///anywhere/movies/20261130T101010") == 1
    progress.note("/anywhere/movies/20261130T101010", 1)
    assert progress.epochs_done("file:///anywhere/movies/20261130T101010") == 1
    assert progress.epochs_done("file:///anywhere/movies/20261130T101112") == 2


def test_what_is_forgotten_begins_at_the_beginning(tmp_path):
    progress = Progress((tmp_path / "snapshots").as_uri())
    progress.forget()
    progress.note("memory://x/1", 3)
    progress.forget()
    assert not (tmp_path / "snapshots").exists()
