"""A run of Ray Train or Ray Tune that is stopped before its end."""

from typing import Any

import ray

_PATIENCE_S = 20.0


def stop(run: "ray.ObjectRef[Any]") -> None:
    """End the task that runs it, and with it what it owns.

    Asked to, it gives back the CPUs that it reserved, which stay reserved where it is killed: Ray Train's own actor for
    that finds no cluster where several run on a machine. Killed it is all the same, if it takes too long.
    """
    ray.cancel(run)
    if not ray.wait([run], timeout=_PATIENCE_S)[0]:
        ray.cancel(run, force=True)
