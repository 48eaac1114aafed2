"""A replica of the candidate: it answers what the replicas of the baseline pass on, and counts how long that takes."""

from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.http.asgi import Answer, Call, call
from deployments.rollout.answered import Seen
from deployments.rollout.canary import Told
from deployments.rollout.counting import Counting, wanted
from deployments.rollout.timed import timed

DEPLOYMENT = "Candidate"
"""Name of the deployment in a candidate's application, unlike that of models: it is none of those that are served."""


@dataclass(frozen=True, kw_only=True)
class Candidacy:
    """What a replica is a candidate in."""

    rollout: str
    """Its id."""
    window_s: float


def application_of(model: str) -> str:
    """The name of the application of a model's candidate: there is one at a time."""
    return f"{model}:candidate"


class CandidateAnswers:
    """Answers by `app`, past whatever checks keys: the replica that passes a request on has checked it."""

    def __init__(self, app: ASGIApp, root_path: str, counting: Counting) -> None:
        self._app = app
        self._root_path = root_path
        self._counting = counting

    async def answer(self, request: Call, wants_rows: bool) -> Told:
        """What the candidate says; the rows of its outputs instead of the answer's body where those are wanted."""
        seen: list[Seen] = []
        before = wanted.set(seen) if wants_rows else None
        try:
            answer = await call(self._timed, request, self._root_path)
        finally:
            if before is not None:
                wanted.reset(before)
        if not wants_rows:
            return Told(answer=answer)
        return Told(answer=Answer(status=answer.status, headers=(), body=b""), rows=seen[0].rows if seen else None)

    async def _timed(self, scope: Scope, receive: Receive, send: Send) -> None:
        seconds, _ = await timed(self._app, scope, receive, send)
        self._counting.took(seconds)
