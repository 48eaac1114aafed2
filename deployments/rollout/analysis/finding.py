"""A finding by the evidence that there is, and by how much is needed."""

from deployments.rollout.analysis.verdict import Finding, Kind, Signal

UNSURE = 0.5
"""Share of the needed evidence from which on a candidate is no longer called good."""


def of_evidence(signal: Signal, nats: float, needed_nats: float, text: str) -> Finding:
    """Bad with enough evidence, inconclusive with half as much, else good.

    Raises:
        ValueError: the evidence is no number.
    """
    if not nats >= 0:
        raise ValueError(f"evidence on {signal} must be a number of nats, got {nats}")
    kind: Kind = "bad" if nats >= needed_nats else "inconclusive" if nats >= UNSURE * needed_nats else "good"
    return Finding(signal=signal, kind=kind, text=text, nats=nats, needed_nats=needed_nats)
