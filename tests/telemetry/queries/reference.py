"""Queries, and what Prometheus answers: `python -m tests.telemetry.queries.reference` writes `answers.json`."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tests.conftest import free_port
from tests.telemetry.queries.recorded import BEGIN_S, an_hour, openmetrics

ANSWERS = Path(__file__).with_name("answers.json")
START_S, END_S, STEP_S = BEGIN_S + 290, BEGIN_S + 3590, 660

QUERIES = """
temperature
requests_total{service="digits",code="200"}
requests_total{service=~"d.*",code!="200"}
requests_total{code!~"2..|4..",instance="a"}
{__name__=~"memory_.*|temp.*"}
memory_bytes offset 5m
memory_bytes offset -2m
temperature @ 1700001000
temperature @ start() - temperature @ end()
rate(requests_total{code="200"}[5m])
rate(requests_total[90s])
rate(memory_bytes[40s])
irate(requests_total{code="500"}[2m])
increase(requests_total{code="500"}[10m])
delta(memory_bytes[5m])
idelta(temperature[5m])
deriv(memory_bytes[5m])
predict_linear(memory_bytes[10m], 3600)
changes(requests_total{code="500"}[10m])
resets(requests_total[15m])
sum_over_time(temperature[3m])
avg_over_time(memory_bytes[5m])
min_over_time(temperature[5m])
max_over_time(temperature[5m])
count_over_time(memory_bytes[5m])
last_over_time(temperature[1m])
present_over_time(memory_bytes[2m])
stddev_over_time(memory_bytes[5m])
stdvar_over_time(requests_total{code="200"}[5m])
quantile_over_time(0.9, memory_bytes[10m])
quantile_over_time(1.5, memory_bytes[10m])
rate(requests_total{code="200"}[5m] offset 10m)
histogram_quantile(0.95, rate(latency_seconds_bucket[5m]))
histogram_quantile(0.5, sum by (le) (rate(latency_seconds_bucket[5m])))
histogram_quantile(0.99, sum by (le, service) (increase(latency_seconds_bucket[10m])))
histogram_quantile(-1, latency_seconds_bucket)
histogram_quantile(0.9, latency_seconds_bucket{le!="+Inf"})
histogram_quantile(0.9, latency_seconds_bucket{le!="0.1"})
sum(requests_total)
sum by (service, code) (requests_total)
sum without (instance, code) (requests_total)
avg by (service) (memory_bytes)
min(memory_bytes)
max by (instance) (memory_bytes)
count by (code) (requests_total)
group by (service) (memory_bytes)
stddev by (service) (memory_bytes)
stdvar(temperature)
topk(2, memory_bytes)
bottomk by (service) (1, memory_bytes)
topk(3, temperature)
quantile(0.75, memory_bytes)
quantile by (service) (0.1, requests_total)
count_values("value", build_info)
1 + 2 * 3 ^ 2 % 5
-temperature
memory_bytes / 1024 / 1024
100 - temperature
temperature > 5
5 < temperature
temperature > bool 5
temperature == temperature
memory_bytes{instance="a"} / on(service) memory_bytes{instance="b"}
memory_bytes{instance="a"} / ignoring(instance) memory_bytes{instance="b"}
memory_bytes{instance="a"} > ignoring(instance) memory_bytes{instance="b"}
requests_total{code="500"} / ignoring(code) group_left sum without (code) (requests_total)
requests_total * on(service, instance) group_left(version) build_info
build_info * on(service, instance) group_right(version) memory_bytes
sum by (service) (rate(requests_total{code=~"5.."}[5m])) / sum by (service) (rate(requests_total[5m]))
memory_bytes and on(service) temperature > 10
memory_bytes unless memory_bytes{instance="b"}
temperature > 10 or temperature < -10
memory_bytes or build_info
-(temperature atan2 temperature)
label_replace(memory_bytes, "host", "$1-${2}", "instance", "(a|b)(.*)")
label_replace(memory_bytes, "host", "${who}!", "instance", "(?P<who>.)")
label_replace(memory_bytes, "instance", "", "instance", ".*")
label_replace(memory_bytes, "host", "x", "instance", "nothing")
label_join(memory_bytes, "both", "/", "service", "instance")
clamp(temperature, -5, 5)
clamp_min(temperature, 0)
clamp_max(temperature, 0)
clamp(temperature, 5, -5)
abs(temperature)
ceil(temperature)
floor(temperature)
round(temperature)
round(memory_bytes, 1000000)
exp(temperature)
ln(memory_bytes)
log2(memory_bytes)
log10(temperature)
sqrt(temperature)
sgn(temperature)
scalar(temperature{service="digits"})
scalar(memory_bytes)
vector(7)
time()
vector(time())
timestamp(temperature)
absent(nothing{a="b",c=~"d.*"})
absent(temperature)
absent_over_time(nothing{a="b"}[5m])
hour()
day_of_week(vector(1700000000))
days_in_month(vector(1708000000))
month() + year() + day_of_month() + minute()
max_over_time(rate(requests_total{code="200"}[1m])[10m:1m])
avg_over_time(sum by (service) (memory_bytes)[5m:30s])
sum_over_time(temperature[3m:])
min_over_time((temperature > 0)[5m:15s])
rate(sum by (service) (requests_total)[10m:1m] offset 1m)
sum(latency_seconds_sum) / sum(latency_seconds_count)
nothing
1 == bool 1
NaN
-Inf
sum(rate(requests_total[5m])) by (service) > 2 and sum(rate(requests_total[5m])) by (service) < 1000
""".strip().splitlines()

ERRORS = """
memory_bytes / on(service) memory_bytes
memory_bytes * on(service) group_left build_info
sum(
nosuch(temperature)
rate(temperature)
label_replace(memory_bytes, "instance", "x", "instance", ".*") + {__name__=~"a.*"}
label_replace(memory_bytes, "0", "x", "instance", ".*")
{}
abs(-{__name__=~"memory_bytes|build_info"})
""".strip().splitlines()
"""What Prometheus refuses."""


def asked(url: str, client: httpx.Client, query: str) -> dict[str, object]:
    """The answers at several steps, and at the last one alone."""
    where = {"start": START_S, "end": END_S, "step": STEP_S}
    ranged = client.get(f"{url}/api/v1/query_range", params={"query": query, **where}).json()
    instant = client.get(f"{url}/api/v1/query", params={"query": query, "time": END_S}).json()
    return {"range": ranged, "instant": instant}


@contextlib.contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """A real one that has `an_hour()`; gives its address."""
    text = folder / "series.txt"
    text.write_text("\n".join(openmetrics(an_hour())) + "\n")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data")],
        check=True,
        capture_output=True,
    )
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    with serving(folder, "--storage.tsdb.retention.time=100y", "--storage.tsdb.path", str(folder / "data")) as url:
        yield url


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """Prometheus with `folder/prometheus.yml`."""
    url = f"http://127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--web.listen-address={url[7:]}", *options]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log, stdout=log) as process:
        try:
            end_s = time.monotonic() + 60
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{url}/-/ready").status_code == 200:
                        break
                if process.poll() is not None or time.monotonic() > end_s:
                    raise RuntimeError((folder / "log").read_text()[-2000:])
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def main() -> None:
    """Ask Prometheus everything and write down its answers."""
    if not shutil.which("prometheus"):
        sys.exit("prometheus must be on the PATH")
    with TemporaryDirectory() as folder, prometheus(Path(folder)) as url, httpx.Client() as client:
        answers = {query: asked(url, client, query) for query in QUERIES + ERRORS}
    ANSWERS.write_text(json.dumps(answers, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
