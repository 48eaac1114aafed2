"""Peers, each installed in an environment of its own under the user's cache, and started there."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import Server, free_port, wait_until_ready

HERE = Path(__file__).parent / "peers"
RUNTIME = ("onnxruntime==1.32.0", "numpy")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server to compare with."""

    name: str
    requirements: tuple[str, ...]
    command: tuple[str, ...]
    """What starts it; `{model}`, `{port}`, `{bin}` stand for the ONNX file, the port and its environment's programs."""
    path: str = "/"
    """Where it takes requests."""
    listed: bool = False
    """Whether it wants a list of requests under `requests`."""
    python: str = sys.executable


BARE = Peer(
    name="bare",
    requirements=("uvicorn==0.54.0", "httptools", "uvloop", "orjson==3.13.0", *RUNTIME),
    command=("{bin}/python", "bare_server.py", "{model}", "{port}"),
)
MOSEC = Peer(
    name="mosec",
    requirements=("mosec==0.9.8", "orjson==3.13.0", *RUNTIME),
    command=("{bin}/python", "mosec_server.py"),
    path="/inference",
)
LITSERVE = Peer(
    name="litserve",
    requirements=("litserve==0.2.19", *RUNTIME),
    command=("{bin}/python", "litserve_server.py", "{model}", "{port}"),
    path="/predict",
)
BENTOML = Peer(
    name="bentoml",
    requirements=("bentoml>=1.4,<1.5", *RUNTIME),
    command=("{bin}/bentoml", "serve", "bentoml_server:Predict", "--host", "127.0.0.1", "--port", "{port}"),
    path="/infer",
    listed=True,
)
MLSERVER = Peer(
    name="mlserver",
    requirements=("mlserver>=1.7,<1.8", *RUNTIME[:1]),
    command=("{bin}/python", "mlserver_server.py", "{model}", "{port}"),
    path="/v2/models/model/infer",
)
TRITON = Peer(
    name="triton",
    requirements=("nvidia-pytriton==0.7.0", *RUNTIME[:1]),
    command=("{bin}/python", "triton_server.py", "{model}", "{port}"),
    path="/v2/models/model/infer",
    # Its Python backend brings an interpreter of its own, which a newer patch release of ours confuses.
    python=shutil.which("python3", path="/usr/bin") or sys.executable,
)
PEERS = (MOSEC, LITSERVE, BENTOML, MLSERVER, TRITON)


@contextmanager
def running(peer: Peer, model: Path) -> Iterator[Server]:
    """The peer serving `model`, until the block ends."""
    programs = _installed(peer) / "bin"
    port = free_port()
    command = [part.format(model=model.absolute(), port=port, bin=programs) for part in peer.command]
    changes = {"MODEL": str(model.absolute()), "MOSEC_PORT": str(port), "MOSEC_ADDRESS": "127.0.0.1"}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=HERE,
                env=_environment(changes),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield Server(process=process, log=log, http_port=port)
        finally:
            _end(process)


def ready(peer: Peer, server: Server, body: bytes) -> None:
    """Return when the peer answers `body`."""
    url = f"http://127.0.0.1:{server.http_port}{peer.path}"
    wait_until_ready(server.process, server.log, url, body, kind="application/json")


def _installed(peer: Peer) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab" / "peers"
    home = cache / peer.name
    done = home / "installed"
    wanted = "\n".join(peer.requirements)
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {peer.name} into {home}", flush=True)
        subprocess.run([peer.python, "-m", "venv", "--clear", "--without-pip", str(home)], check=True)
        target = ["--python", str(home / "bin" / "python")]
        command = [sys.executable, "-m", "pip", *target, "install", "--quiet", "--quiet", *peer.requirements]
        subprocess.run(command, check=True)
        done.write_text(wanted)
    return home


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's, without what points Python at our own packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | dict(changes)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the peer and its workers, which share its process group."""
    group = process.pid
    for number in (15, 9):
        try:
            os.killpg(group, number)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
