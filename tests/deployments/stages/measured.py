"""A cascade of the tiny model, as if it had been measured with version 7 of `large`."""

from optimization.artifact.cascade import Cascade

SURE = 0.9
SHARE = {"value": 0.3, "low": 0.2, "high": 0.4}
FOUND = Cascade(
    teacher="large/7",
    form="probabilities",
    temperature=1.0,
    threshold=SURE,
    max_loss=0.01,
    confidence=0.95,
    bound=0.01,
    num_lost=0,
    num_samples=300,
    num_temperature=100,
    held_out={
        "num_samples": 100,
        **dict.fromkeys(("student", "teacher", "cascade", "sent", "lost", "drop"), SHARE),
        "curve": [],
    },
    student_s={1: 0.001},
    teacher_s={1: 0.01},
)
