"""What a replica asks of its node; Ray deals out GPUs that are only declared as it does real ones."""

import json
import subprocess
import sys

import pytest

from deployments.errors import SettingsError
from deployments.replicas.placement import GPU_PROVIDER, actor_options
from deployments.settings import ModelSettings

CUDA = (GPU_PROVIDER, "CPUExecutionProvider")
NO_CUDA = ("CPUExecutionProvider",)
GPUS = {"CPU": 8.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("accelerator", "cluster", "providers", "num_gpus"),
    [
        ("auto", GPUS, CUDA, 0.25),
        ("auto", {"CPU": 8.0}, CUDA, None),
        ("auto", {"CPU": 8.0, "GPU": 0.1}, CUDA, None),
        ("auto", GPUS, NO_CUDA, None),
        ("cpu", GPUS, CUDA, None),
        ("gpu", GPUS, CUDA, 0.25),
    ],
)
def test_a_gpu_is_taken_where_there_is_one_to_use(accelerator, cluster, providers, num_gpus):
    wanted = ModelSettings(artifact="m", num_threads=3, accelerator=accelerator, gpu_fraction=0.25)
    options = actor_options(wanted, cluster, providers)
    assert (options["num_cpus"], options.get("num_gpus")) == (3, num_gpus)


@pytest.mark.parametrize(
    ("cluster", "providers", "said"),
    [({"CPU": 8.0}, CUDA, "got gpu: the cluster has 0 GPUs"), (GPUS, NO_CUDA, "install onnxruntime-gpu")],
)
def test_a_gpu_that_is_demanded_and_missing_is_refused(cluster, providers, said):
    with pytest.raises(SettingsError, match=said):
        actor_options(ModelSettings(artifact="m", accelerator="gpu"), cluster, providers)


SCRIPT = """
import json, ray
from deployments.replicas.placement import GPU_PROVIDER, actor_options
from deployments.settings import ModelSettings

ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level=40)

@ray.remote
class Replica:
    def gpus(self):
        return ray.get_gpu_ids()

def options(accelerator):
    settings = ModelSettings(artifact="m", accelerator=accelerator, gpu_fraction=0.5)
    return actor_options(settings, ray.cluster_resources(), [GPU_PROVIDER]) | {"num_cpus": 0.5}

replicas = [Replica.options(**options(kind)).remote() for kind in ("auto", "auto", "auto", "cpu")]
print(json.dumps(ray.get([each.gpus.remote() for each in replicas])))
ray.shutdown()
"""


@pytest.mark.ray
@pytest.mark.slow
def test_three_halves_share_two_declared_gpus_and_a_replica_on_the_cpu_gets_none():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr[-2000:]
    *sharing, without = json.loads(done.stdout.splitlines()[-1])
    assert sorted(gpu for each in sharing for gpu in each) in ([0, 0, 1], [0, 1, 1])
    assert without == []
