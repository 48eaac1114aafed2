"""When a version that could not be loaded is tried again."""

from itertools import pairwise

from deployments.replicas.failures import FIRST_PAUSE_S, LONGEST_PAUSE_S, Failures


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def test_pauses_grow_so_that_what_passes_is_tried_soon_and_what_lasts_seldom():
    clock = Clock()
    found = Failures(clock)
    tries_s = []
    while clock.now_s < 3600:
        if found.due("2", "files"):
            found.add("2", "the disk is full", "files")
            tries_s.append(clock.now_s)
        clock.now_s += 0.1
    pauses_s = [after - before for before, after in pairwise(tries_s)]
    assert len(tries_s) < 25
    assert pauses_s[0] < FIRST_PAUSE_S + 0.2
    assert all(0.8 * LONGEST_PAUSE_S - 0.2 < each < LONGEST_PAUSE_S + 0.2 for each in pauses_s[-5:])


def test_a_change_of_its_files_or_an_order_ends_the_pause():
    found = Failures(Clock())
    found.add("2", "damaged", "files")
    assert not found.due("2", "files")
    assert found.due("2", "mended files")
    found.end_pauses()
    assert found.due("2", "files")


def test_the_status_says_why_and_when():
    clock = Clock()
    found = Failures(clock)
    assert found.status("2") is None
    assert found.add("2", "the disk is full", "files")
    assert not found.add("2", "the disk is full", "files")  # known already: nobody need be warned again
    clock.now_s += 1
    assert found.status("2") in ("the disk is full; tried again in 2 s", "the disk is full; tried again in 3 s")
