"""Objectives over HTTP.

    GET api/slos    `{now, slos: [{service, name, share, latency_s, left, burns: [{window_s, burn}], severity}]}`

`left` is the share of 30 days' error budget that is left, below 0 where more was spent; a burn of 1 spends it in just
30 days, and is null where no request came; `severity` is "page" or "ticket" while it is spent too fast, else null.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry.slo.burn import RULES, broken
from telemetry.slo.watch import BudgetWatch


def routes(budgets: Mapping[str, Sequence[BudgetWatch]], clock: Callable[[], float]) -> list[Route]:
    """The routes, relative to where the page is; `budgets` are each service's."""

    async def slos(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        now_s = clock()
        listed = [view(service, budget, now_s) for service, each in sorted(budgets.items()) for budget in each]
        return Response(orjson.dumps({"now": now_s, "slos": listed}), media_type="application/json")

    return [Route("/api/slos", slos)]


def view(service: str, watch: BudgetWatch, now_s: float) -> dict[str, Any]:
    """One objective as it stands."""
    rule = broken(watch.budget, now_s)
    burns = [(rule.long_s, watch.budget.burn(rule.long_s, now_s)) for rule in RULES]
    return {
        "service": service,
        "name": watch.objective.name,
        "share": watch.objective.share,
        "latency_s": watch.objective.latency_s,
        "left": watch.budget.left(now_s),
        "burns": [{"window_s": window_s, "burn": None if math.isnan(burn) else burn} for window_s, burn in burns],
        "severity": rule.severity if rule else None,
    }
