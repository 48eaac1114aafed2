"""What a model's application asks: one predictor, or several that answer as one."""

from collections.abc import Mapping
from typing import Protocol

from deployments.batching.admission import Limits
from deployments.execution.prediction import Prediction
from deployments.oip.statistics import Statistics
from deployments.oip.tensors import Array
from deployments.oip.urgency import Urgency
from optimization.artifact.manifest import Manifest


class Predicting(Protocol):
    """Tensors in, tensors out, as `deployments.execution.predictor.Predictor` does."""

    manifest: Manifest
    limits: Limits
    is_inline: bool
    """Whether it answers in the event loop, before anybody could hang up."""
    keeps_answers: bool
    statistics: Statistics

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""

    async def stop(self) -> None:
        """Finish what is under way, refuse what waits and let go of the model."""

    def admit(self) -> None:
        """Refuse early, before a request is read, what `predict` would refuse of a usual one.

        Raises:
            OverloadedError: as many requests wait as may.
            UnavailableError: it does not run.
        """

    def problem(self) -> str | None:
        """Why it cannot answer at the moment, though it is loaded, if so."""

    async def predict(self, tensors: Mapping[str, Array], urgency: Urgency = ...) -> dict[str, Array]:
        """The outputs for these inputs.

        Raises:
            RequestError: they cannot be answered as they are, or not in time.
        """

    async def timed(self, tensors: Mapping[str, Array], urgency: Urgency = ...) -> Prediction:
        """The same, with what became of the request on its way."""
