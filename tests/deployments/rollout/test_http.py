"""Rollouts over HTTP, and the commands that ask for them."""

import io

import orjson
import pytest
from rich.console import Console

from deployments.__main__ import _parser
from deployments.access.guard import of_server
from deployments.commands import rollout as command
from deployments.errors import InputError
from deployments.http.asgi import Call, call
from deployments.http.server import Cluster, server_app
from deployments.oip.openapi import openapi_document
from deployments.rollout.http import routes
from telemetry.emitting.emitter import Emitter
from tests.deployments.rollout.simulated import MODEL, World

QUICK = {"step_s": 3.0, "window_s": 0.5, "canary": [1, 10]}


@pytest.fixture
def world():
    made = World()
    yield made
    made.end()


@pytest.fixture
def server(world):
    """As `deployments.commands.client.Client`, of a server without a socket."""
    emitter = Emitter(service="server", version="", role="server", instance="a", endpoint="none")
    nothing = Cluster(models=dict, index=None, load=None, unload=None, statistics=None, tables=dict, is_whole=None)
    app = server_app(nothing, emitter, rollouts=world.controller)

    class Server:
        status = 0

        def ask(self, method, path, body=None, headers=None):
            answer = world.run(call(app, Call(method=method, path=path, body=body or b""), "/v2"))
            self.status = answer.status
            return answer.headers, answer.body

        def get(self, path):
            return orjson.loads(self.ask("GET", path)[1])

        def post(self, path, body):
            return orjson.loads(self.ask("POST", path, orjson.dumps(body))[1])

    return Server()


def test_a_rollout_is_begun_shown_and_ended(world, server):
    assert server.get("/v2/rollouts") == {"rollouts": []}
    begun = server.post(f"/v2/rollouts/{MODEL}", {"version": "2", **QUICK, "why": "ann"})
    assert (begun["phase"], begun["candidate"], begun["text"]) == ("starting", "2", "ann")
    world.tick(30)
    (listed,) = server.get("/v2/rollouts")["rollouts"]
    assert (listed["phase"], listed["share"], listed["verdict"]) == ("canary", 0.1, "good")
    assert "waits for `rollout promote`" in listed["text"]
    server.post(f"/v2/rollouts/{MODEL}/promote", {"why": "ann"})
    world.tick(3)
    (shown,) = server.get(f"/v2/rollouts/{MODEL}")["rollouts"]
    assert [each["phase"] for each in shown["decisions"]][-2:] == ["promoting", "promoted"]
    assert any(each["evidence"] for each in shown["decisions"])


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (MODEL, {"version": "9"}, 404, "has version 1, 2, 3, not '9'"),
        (MODEL, {}, 400, "version must be one, such as '2', got None"),
        (MODEL, {"version": "2", "canary": [50, 10]}, 400, "canary: "),
        (MODEL, {"version": "2", "percent": 5}, 400, "percent: "),
        (f"{MODEL}/promote", {}, 404, "was never rolled out"),
        (f"{MODEL}/abort", {"because": 1}, 400, "only why may be given"),
    ],
)
def test_an_order_that_cannot_be_followed_is_refused_with_the_reason(server, path, body, status, said):
    answer = server.post(f"/v2/rollouts/{path}", body)
    assert (server.status, said in answer["error"]) == (status, True), answer


def test_a_second_rollout_of_a_model_is_a_conflict(server):
    server.post(f"/v2/rollouts/{MODEL}", {"version": "2"})
    server.post(f"/v2/rollouts/{MODEL}", {"version": "3"})
    assert server.status == 409


def test_orders_take_an_administrators_key():
    def need(method, path):
        return of_server({"type": "http", "method": method, "path": path, "root_path": "/v2"})

    assert need("POST", f"/v2/rollouts/{MODEL}").admin
    assert need("POST", f"/v2/rollouts/{MODEL}/promote").admin
    assert not need("GET", f"/v2/rollouts/{MODEL}").admin


def test_the_document_names_every_path(world):
    paths = openapi_document()["paths"]
    for method, path, _ in routes(world.controller):
        assert method.lower() in paths[f"/v2/rollouts{path}"]


def said(server, *words):
    """What the command prints."""
    parser, modules = _parser()
    command.add_arguments(modules["rollout"])
    options = parser.parse_args(["rollout", *words])
    console = Console(file=io.StringIO(), width=200)
    command.show(console, options, command.done(options, server))
    return console.file.getvalue()


def test_the_commands_ask_for_it_and_explain(world, server):
    assert f"{MODEL} version 2 after 1: starting" in said(server, MODEL, "2", "--canary", "1,10", "--step", "3")
    world.tick(30)
    shown = said(server, "show", MODEL)
    assert "canary 10 %: good" in shown
    assert "errors: it is good" in shown
    assert "good in all steps, waits for `rollout promote`" in shown
    assert "canary 10 %" in said(server, "list")
    assert "promoting" in said(server, "promote", MODEL, "--why", "ann")


@pytest.mark.parametrize("words", [["show"], ["promote"], [MODEL], [MODEL, "2", "3"], [MODEL, "2", "--canary", "ten"]])
def test_a_command_that_says_nothing_sensible_is_told_the_rule(server, words):
    with pytest.raises(InputError, match=r"rollout takes MODEL VERSION|--canary must be percentages"):
        said(server, *words)
