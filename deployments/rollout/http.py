"""Rollouts over HTTP, below `/v2/rollouts`.

GET  /v2/rollouts                   all that are remembered, the latest first
GET  /v2/rollouts/<model>           those of a model, the latest first, each with its decisions and their evidence
POST /v2/rollouts/<model>           begin one: `{"version": "2", "canary": [1, 10, 50], "auto": true}`
POST /v2/rollouts/<model>/promote   let the candidate take over now, which the last verdict called good
POST /v2/rollouts/<model>/abort     let it go
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from deployments.errors import RequestError, brief
from deployments.rollout.controller import Controller
from deployments.rollout.state import Rollout

Answer = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""What a route answers, as JSON, given the model that its path names and the request's body."""


def routes(controller: Controller) -> list[tuple[str, str, Answer]]:
    """Method, path below `/rollouts`, and what answers."""

    async def listed(_: str, __: Mapping[str, Any]) -> Any:
        return {"rollouts": [summary(each) for each in controller.rollouts()]}

    async def of_model(model: str, _: Mapping[str, Any]) -> Any:
        controller.latest(model)
        return {"rollouts": [each.model_dump(mode="json") for each in controller.rollouts(model)]}

    async def begin(model: str, body: Mapping[str, Any]) -> Any:
        given = dict(body)
        version, why = given.pop("version", None), _why(given, "a person began it")
        if not isinstance(version, str) or not version.isdigit():
            raise RequestError(f"version must be one, such as '2', got {brief(version)}")
        return summary(await controller.begin(model, version, given, why=why))

    async def promote(model: str, body: Mapping[str, Any]) -> Any:
        return summary(await controller.promote(model, why=_only_why(body, "a person promoted it")))

    async def abort(model: str, body: Mapping[str, Any]) -> Any:
        return summary(await controller.abort(model, why=_only_why(body, "a person aborted it")))

    return [
        ("GET", "", listed),
        ("GET", "/{model}", of_model),
        ("POST", "/{model}", begin),
        ("POST", "/{model}/promote", promote),
        ("POST", "/{model}/abort", abort),
    ]


def summary(rollout: Rollout) -> dict[str, Any]:
    """A rollout without its decisions, and why it is where it is."""
    kept = rollout.model_dump(mode="json", include={"id", "model", "baseline", "candidate", "phase", "since_s"})
    return {**kept, "share": rollout.share, "verdict": rollout.last, "text": rollout.said or rollout.decisions[-1].text}


def _only_why(body: Mapping[str, Any], otherwise: str) -> str:
    given = dict(body)
    why = _why(given, otherwise)
    if given:
        raise RequestError(f"only why may be given, got {brief(next(iter(given)))}")
    return why


def _why(given: dict[str, Any], otherwise: str) -> str:
    why = given.pop("why", otherwise)
    if not isinstance(why, str) or not 0 < len(why) <= 500:
        raise RequestError(f"why must be a text of 1 to 500 characters, got {brief(why)}")
    return why
