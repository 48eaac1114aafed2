"""The short way: whose requests take it, and when there is none."""

import asyncio

import pytest
from uvicorn.config import HTTP_PROTOCOLS

from deployments.ingress import fast_path
from deployments.ingress.fast_path import middlewares, open_fast_path, past_wrapper, without_routes
from deployments.ingress.speed import telling_speed


@pytest.fixture(autouse=True)
def _closed(monkeypatch):
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", HTTP_PROTOCOLS["auto"])
    yield
    fast_path._opened.clear()


def named(name, seen):
    async def app(scope, receive, send):
        seen.append((name, scope["type"], scope.get("root_path")))

    return app


async def call(app, **scope):
    await app({"type": "http", **scope}, None, None)


def test_only_the_models_own_route_takes_the_short_way():
    seen = []
    opened = open_fast_path("/v2/models/a", named("model", seen))
    app = past_wrapper(named("ray", seen), opened)

    async def main():
        for path in ("/v2/models/a", "/v2/models/a/infer", "/v2/models/ab/infer", "/-/healthz", "/v2/models"):
            await call(app, path=path)
        await app({"type": "websocket", "path": "/v2/models/a"}, None, None)

    asyncio.run(main())
    assert [name for name, *_ in seen] == ["model", "model", "ray", "ray", "ray", "ray"]
    assert seen[0][2] == "/v2/models/a"


def test_a_process_without_a_model_has_no_short_way():
    async def main():
        assert [middleware.cls for middleware in middlewares()] == [without_routes]

    asyncio.run(main())


def test_a_model_in_the_servers_loop_is_offered_and_one_in_another_is_not():
    opened = open_fast_path("/v2/models/a", named("model", []))

    async def live():
        await opened({"type": "lifespan"}, None, None)

    async def offered():
        return [middleware.cls for middleware in middlewares()]

    async def both():
        await live()
        return await offered()

    assert asyncio.run(both()) == [without_routes, telling_speed, past_wrapper]
    asyncio.run(live())
    assert asyncio.run(offered()) == [without_routes]


def test_nobody_is_told_the_routes():
    seen, sent = [], []

    async def send(message):
        sent.append(message)

    async def main():
        app = without_routes(named("ray", seen))
        await app({"type": "http", "path": "/-/routes"}, None, send)
        await app({"type": "http", "path": "/-/healthz"}, None, send)

    asyncio.run(main())
    assert sent[0]["status"] == 404
    assert len(seen) == 1


def test_a_replica_tells_its_speed_by_a_path_of_its_own():
    seen, sent = [], []

    async def send(message):
        sent.append(message)

    async def main():
        app = telling_speed(named("ray", seen), lambda: 1234.5)
        await app({"type": "http", "path": "/-/speed"}, None, send)
        await app({"type": "http", "path": "/-/healthz"}, None, send)

    asyncio.run(main())
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"1234.5")
    assert len(seen) == 1
