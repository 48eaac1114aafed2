"""The candidate's application, asked by Ray: a request goes to one of its replicas as Serve's handles send calls."""

import asyncio
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from deployments import ray_private
from deployments.http.asgi import Call
from deployments.rollout.canary import CandidateGoneError, Told
from deployments.rollout.candidate import DEPLOYMENT


class RemoteCandidate:
    """As `deployments.rollout.canary.Ask`; belongs to the event loop that it is first called in."""

    def __init__(self, application: str) -> None:
        self._application = application
        self._handle: DeploymentHandle[Any] | None = None

    async def __call__(self, request: Call, wants_rows: bool) -> Told:
        """What the candidate says; cancelled there where the caller is.

        Raises:
            CandidateGoneError: no replica of it answers.
        """
        try:
            if self._handle is None:
                self._handle = ray_private.handle_for_large(DEPLOYMENT, self._application)
            response = self._handle.answer_canary.remote(request, wants_rows)
            try:
                told: Told = await response
            except asyncio.CancelledError:
                response.cancel()  # type: ignore[no-untyped-call]
                raise
        except RayTaskError as error:
            raise CandidateGoneError(f"it failed: {type(error.cause).__name__}") from error
        except (RayError, RayServeException, DeploymentUnavailableError, KeyError) as error:
            raise CandidateGoneError(f"it has no replica that answers: {type(error).__name__}") from error
        return told
