"""What a benchmark starts, it ends."""

import signal
import subprocess
import sys

import psutil
import pytest

STARTS = """
import sys, time
from benchmarks import servers

with servers._serving([sys.executable, "-c", "import time; time.sleep(600)"], {}, {}) as (process, _):
    print(process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGINT])
def test_a_benchmark_that_is_told_to_end_leaves_no_server(ends):
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        server = psutil.Process(int(run.stdout.readline()))
        try:
            run.send_signal(ends)
            server.wait(30)
        finally:
            run.kill()
            if server.is_running():
                server.kill()
