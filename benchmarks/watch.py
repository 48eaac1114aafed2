"""Does the collector stay quiet on steady traffic and speak up when something breaks? Real server, real clock.

Ten minutes of steady requests, then 400s among them, then a replica that stutters. Needs the signals artifact.
"""

import argparse
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.servers import Server, infer_path, replica, request_body, trimtab
from optimization.artifact.store import find, load

LIMIT_S = 15.0


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, help="directory of the artifact (default: the newest signals)")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the steady traffic")
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    options = parser.parse_args()
    artifact = load(options.artifact or find(Path("artifacts"), "signals"))
    body = request_body(artifact)
    with trimtab(artifact) as server:
        url = server.url + infer_path(artifact)
        with requests(url, body, options.rate):
            time.sleep(60 * options.minutes)
            false_alarms = alerts(server, 0.0)
            print("alerts on steady traffic:", false_alarms, flush=True)
            with requests(url, b"{", options.rate / 2):
                errors_s = seconds_until(server, "errors")
            time.sleep(30)
            with stutter(replica(server, artifact.manifest.name)):
                latency_s = seconds_until(server, "latency")
    figures = {
        "minutes": options.minutes,
        "false_alarms": len(false_alarms),
        "error_burst_flagged_s": errors_s,
        "latency_spike_flagged_s": latency_s,
    }
    print(json.dumps(figures))


OF_ROWS = ("drift", "data_quality")


def alerts(server: Server, since_s: float) -> list[dict[str, Any]]:
    """The alerts that fired since a time, but those about what is asked: one row again and again is rightly told."""
    with urllib.request.urlopen(f"{server.url}/telemetry/api/alerts") as response:
        found: list[dict[str, Any]] = json.load(response)["alerts"]
    return [alert for alert in found if alert["fired_s"] >= since_s and alert["signal"] not in OF_ROWS]


def seconds_until(server: Server, signal: str, service: str | None = None) -> float | None:
    """Seconds until an alert on a signal of that kind fires; none if it takes longer than the limit."""
    began = time.time()
    while time.time() - began < LIMIT_S:
        for alert in alerts(server, began):
            if signal in alert["signal"] and service in (None, alert["service"]):
                print(f"{time.time() - began:.1f} s: {alert['sentence']}", flush=True)
                return round(time.time() - began, 1)
        time.sleep(0.25)
    return None


@contextmanager
def requests(url: str, body: bytes, per_s: float) -> Iterator[None]:
    """Steady requests in the background."""

    def act() -> None:
        time.sleep(1 / per_s)
        try:
            urllib.request.urlopen(url, body, timeout=10).read()
        except urllib.error.HTTPError as refused:
            refused.read()

    with _over_and_over(act):
        yield


@contextmanager
def stutter(process: psutil.Process) -> Iterator[None]:
    """Let `process` run for 20 ms of every 170 ms."""

    def act() -> None:
        process.suspend()
        time.sleep(0.15)
        process.resume()
        time.sleep(0.02)

    with _over_and_over(act):
        yield


@contextmanager
def _over_and_over(act: Callable[[], None]) -> Iterator[None]:
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
