"""What a replica asks of the node it runs on: CPUs, and a part of a GPU where the cluster has one it can use."""

from collections.abc import Collection, Mapping
from typing import Any

from deployments.errors import SettingsError
from deployments.settings import ModelSettings

GPU_PROVIDER = "CUDAExecutionProvider"


def actor_options(settings: ModelSettings, cluster: Mapping[str, float], providers: Collection[str]) -> dict[str, Any]:
    """Ray's options for a replica, given the cluster's resources and what this build of ONNX Runtime runs on.

    Ray lets replicas share a GPU as long as their fractions fit. One that asks for none still sees them all, and must
    not use them: its session runs on the CPU.

    Raises:
        SettingsError: a GPU is demanded and there is none, or none that this build can use.
    """
    options: dict[str, Any] = {"num_cpus": settings.num_threads}
    missing = _missing(settings.gpu_fraction, cluster, providers)
    if settings.accelerator == "gpu" and missing:
        raise SettingsError(f"args.accelerator must be auto or cpu here, got gpu: {missing}")
    if settings.accelerator != "cpu" and not missing:
        options["num_gpus"] = settings.gpu_fraction
    return options


def function_options(settings: ModelSettings, cluster: Mapping[str, float]) -> dict[str, Any]:
    """The same for a function of Python: it uses a GPU where it is told to, and in its own way.

    Raises:
        SettingsError: a GPU is demanded and there is none.
    """
    options: dict[str, Any] = {"num_cpus": settings.num_threads}
    if settings.accelerator != "gpu":
        return options
    if missing := _too_few(settings.gpu_fraction, cluster):
        raise SettingsError(f"settings.accelerator must be auto or cpu here, got gpu: {missing}")
    return options | {"num_gpus": settings.gpu_fraction}


def _missing(fraction: float, cluster: Mapping[str, float], providers: Collection[str]) -> str:
    if too_few := _too_few(fraction, cluster):
        return too_few
    if GPU_PROVIDER not in providers:
        return "this build of ONNX Runtime has no CUDA; install onnxruntime-gpu in its place"
    return ""


def _too_few(fraction: float, cluster: Mapping[str, float]) -> str:
    if cluster.get("GPU", 0) < fraction:
        return f"the cluster has {cluster.get('GPU', 0):g} GPUs and each replica asks for {fraction:g}"
    return ""
