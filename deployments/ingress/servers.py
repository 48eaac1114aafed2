"""What Ray asks for in each process, replica or proxy, before it starts the servers there
(`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`).
"""

from starlette.middleware import Middleware

from deployments import ray_private
from deployments.access.guard import is_loopback
from deployments.ingress import fast_path
from deployments.oip import grpc_service


def middlewares() -> list[Middleware]:
    """The fast path for the HTTP server; and the gRPC server will listen where the HTTP server does, and read no more
    of a message than may be in one.
    """
    ray_private.bound_grpc_servers(
        on_loopback=is_loopback(ray_private.http_host()), most_bytes=grpc_service.most_message_bytes()
    )
    return fast_path.middlewares()
