"""What sees the tensors of each answer of a replica, while there is a rollout to see them for."""

from collections.abc import Callable, Mapping

from deployments.oip.tensors import Array
from deployments.rollout.answered import Judge
from optimization.artifact.manifest import Manifest

See = Callable[[Manifest, Mapping[str, Array], Mapping[str, Array], Judge | None], None]
TeacherCompared = Callable[[int, int], None]


class Witness:
    """One for all versions of a replica."""

    see: See | None = None
    """Called with an answer's inputs and outputs and with what asks the teacher; none while nothing is rolled out."""
    teacher_compared: TeacherCompared | None = None
    """Called with the number of rows that a teacher answered too, and of those in which both agreed."""

    def watch(self, see: See, teacher_compared: TeacherCompared) -> None:
        """Call these from now on."""
        self.see, self.teacher_compared = see, teacher_compared

    def rest(self) -> None:
        """Call nobody."""
        self.see = self.teacher_compared = None
