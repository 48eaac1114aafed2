"""Requests per second of Trimtab against plain Ray Serve: one model, one replica, both up at once, rounds in turn.

Needs the signals artifact: `python -m optimization optimization/recipes/signals.yaml`.
"""

import argparse
import json
import statistics
from contextlib import ExitStack
from pathlib import Path

from benchmarks.load import Load, drive
from benchmarks.servers import infer_path, plain_ray_serve, request_body, trimtab
from optimization.artifact.store import find, load

TRIMTAB, PLAIN = "trimtab", "plain_ray_serve"


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, help="directory of the artifact (default: the newest signals)")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one round")
    options = parser.parse_args()
    artifact = load(options.artifact or find(Path("artifacts"), "signals"))
    body = request_body(artifact)
    with ExitStack() as stack:
        peers = {
            TRIMTAB: (stack.enter_context(trimtab(artifact)).http_port, infer_path(artifact)),
            PLAIN: (stack.enter_context(plain_ray_serve(artifact)).http_port, "/"),
        }
        for port, path in peers.values():
            drive(port=port, path=path, body=body, connections=options.connections, duration_s=2)
        loaded: dict[str, list[Load]] = {name: [] for name in peers}
        alone: dict[str, list[Load]] = {name: [] for name in peers}
        for round_ in range(options.rounds):
            for name, (port, path) in peers.items():
                for found, connections in ((loaded, options.connections), (alone, 1)):
                    measured = drive(
                        port=port, path=path, body=body, connections=connections, duration_s=options.seconds
                    )
                    found[name].append(measured)
                    print(f"round {round_ + 1}  {name:16} c={connections:<3} {measured}", flush=True)
    rates = {name: statistics.median(each.requests_per_s for each in found) for name, found in loaded.items()}
    figures = {f"{name}_requests_per_s": round(rate, 1) for name, rate in rates.items()}
    figures |= {
        f"{name}_p50_ms_c1": round(1e3 * statistics.median(each.p50_s for each in found), 3)
        for name, found in alone.items()
    }
    figures["over_plain_ray_serve"] = round(rates[TRIMTAB] / rates[PLAIN], 2)
    figures["num_failed"] = sum(each.num_failed for found in (*loaded.values(), *alone.values()) for each in found)
    figures["connections"] = options.connections
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
