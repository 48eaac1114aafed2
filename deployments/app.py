"""The applications that `serve_config.yaml` names, as `import_path: deployments.app:model`."""

from deployments.applications.embeddings import embeddings
from deployments.applications.model import model
from deployments.applications.pipeline import pipeline
from deployments.applications.server import server
from deployments.applications.telemetry import telemetry

__all__ = ["embeddings", "model", "pipeline", "server", "telemetry"]
