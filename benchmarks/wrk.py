"""Load by `wrk`: one thread of it answers for some 50,000 requests a second, where asyncio's limit is 5,000.

Debian and Ubuntu: `apt install wrk`. Every server is measured with it, the same body and the same connections.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.load import Load

SCRIPT = """
wrk.method = "POST"
%s
local bodies = {}
local next = 0
function init(args)
  for number = 1, %d do
    local file = io.open("%s/" .. number, "rb")
    bodies[number] = wrk.format(nil, nil, nil, file:read("*a"))
    file:close()
  end
end
function request()
  next = next %% #bodies + 1
  return bodies[next]
end
function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format('{"n": %%d, "us": %%d, "p50": %%f, "p99": %%f, "status": %%d, "lost": %%d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""


def drive(
    *,
    port: int,
    path: str,
    body: bytes | Sequence[bytes],
    connections: int,
    duration_s: float,
    headers: Mapping[str, str] | None = None,
) -> Load:
    """Load `127.0.0.1:port` for whole seconds; each connection sends its next request when answered.

    Several bodies take turns. `requests_per_s` counts those answered with a 2xx or 3xx.
    """
    if shutil.which("wrk") is None:
        raise SystemExit("the load generator wrk is missing: apt install wrk")
    bodies = [body] if isinstance(body, bytes) else body
    sent = {"Content-Type": "application/json", **(headers or {})}
    with tempfile.TemporaryDirectory() as folder:
        for number, each in enumerate(bodies):
            Path(folder, str(number + 1)).write_bytes(each)
        lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in sent.items())
        script = Path(folder, "load.lua")
        script.write_text(SCRIPT % (lines, len(bodies), folder))
        seconds = max(1, round(duration_s))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        output = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{path}"], check=True, capture_output=True, text=True
        ).stdout
    found = json.loads(output.splitlines()[-1])
    return Load(
        requests_per_s=(found["n"] - found["status"]) / found["us"] * 1e6,
        p50_s=found["p50"] / 1e6,
        p99_s=found["p99"] / 1e6,
        num_failed=found["status"] + found["lost"],
    )
