"""`plan`, as it is typed: by a manifest, by a running server, and what it refuses."""

import asyncio
import json
import threading
import time

import pytest
import uvicorn

from deployments.__main__ import main
from tests.conftest import free_port
from tests.deployments.placing.test_proposal import measured  # noqa: F401 - a fixture

CALL_S, ROW_S = 0.010, 0.002


class Server:
    """A model whose calls take `CALL_S` and `ROW_S` a row, behind what takes 5 ms by itself."""

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return
        said = {}
        seconds = 0.005
        match scope["path"].rpartition("/")[2]:
            case "infer":
                (tensor,) = json.loads((await receive())["body"])["inputs"]
                seconds += CALL_S + ROW_S * tensor["shape"][0]
            case "config":
                said = {"dynamic_batching": {"preferred_batch_size": [8]}}
            case "slow":
                said = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}
        await asyncio.sleep(seconds)
        body = json.dumps(said).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def url():
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(Server(), port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def planned(capsys, *arguments):
    assert main(["plan", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_running_server_is_measured_and_what_is_not_its_model_keeps_no_replica_busy(url, capsys):
    node = ["--node-cpus", "2", "--node-price", "0.5", "--spare", "1"]
    found = planned(capsys, "slow", "--rate", "300", "--p99", "2s", "--url", url, "--measure-s", "1", *node)
    assert CALL_S + ROW_S < found["call_s"] < 2 * (CALL_S + ROW_S)
    assert found["p50_s"] > CALL_S + ROW_S + 0.005
    assert found["p99_s"] <= 2
    needed = found["replicas"] - 2
    assert 300 * (CALL_S + 8 * ROW_S) / 8 < needed < 10
    assert found["nodes"] == -(-needed // 2) + 1
    assert found["cost_per_hour"] == 0.5 * found["nodes"]
    assert found["cost_per_million"] == pytest.approx(found["cost_per_hour"] / (3600 * 300) * 1e6)


def test_without_a_server_the_manifest_says_how_long_calls_take_and_no_price_is_made_up(measured, capsys):  # noqa: F811
    common = ["--p99", "0.1s", "--node-cpus", "4", "--artifacts", str(measured.path.parents[1])]
    few, many = (planned(capsys, "measured", "--rate", rate, *common) for rate in ("10", "900"))
    assert few["call_s"] == pytest.approx(0.010, rel=0.05)
    assert (few["replicas"], few["nodes"], few["cost_per_hour"]) == (1, 1, None)
    assert many["replicas"] > 1
    assert many["p99_s"] <= 0.1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "0", "--p99", "50ms"], "--rate must be above 0, got 0"),
        (["--rate", "nan", "--p99", "50ms"], "--rate must be above 0, got nan"),
        (["--rate", "1", "--p99", "50ms", "--spare", "-1"], "--spare must be at least 0, got -1"),
        (["--rate", "1", "--p99", "50ms", "--node-price", "-1"], "--node-price must be at least 0, got -1"),
        (["--rate", "1", "--p99", "50ms", "--artifacts", "nowhere"], "artifact 'm' is missing"),
    ],
)
def test_a_number_that_breaks_its_rule_is_named(arguments, said, capsys):
    assert main(["plan", "m", *arguments, "--node-cpus", "2"]) == 2
    assert said in capsys.readouterr().err


def test_a_time_without_a_unit_that_is_known_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["plan", "m", "--rate", "1", "--p99", "50 minutes", "--node-cpus", "2"])
    assert "must be a time such as 50ms or 0.05s" in capsys.readouterr().err
