"""What Ray Serve's processes must find in their environment on every node, however they are started."""

from deployments.ingress.haproxy import NO_PORT

EVERYWHERE = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # What Ray's wrapper does for each request takes longer than a small model's work.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.ingress.servers:middlewares",
    # From its fallback proxy to a replica, Ray's gRPC carries 4 MiB at most; its actor calls carry any size.
    "RAY_SERVE_PROXY_USE_GRPC": "0",
    # Inference is a pure function: a request whose replica died may be sent to the next; once, as the ingress sees
    # to (docs/decisions/0020-one-replay.md). Replicas that refuse the connection are passed over.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response junk-response",
    "RAY_SERVE_HAPROXY_RETRIES": "10",
    "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
    # A log line of each request, read by Ray in Python: telemetry counts them already.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    "RAY_SERVE_HAPROXY_METRICS_PORT": NO_PORT,
    "RAY_SERVE_HAPROXY_STATS_PORT": NO_PORT,
}
"""The ingress, the faster replica wrapper, and no ports that nobody needs."""
