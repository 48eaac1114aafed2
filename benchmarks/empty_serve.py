"""A replica that does nothing: what Ray itself takes to start one."""

from typing import Any

from ray import serve
from ray.serve import Application


async def _lives(scope: Any, receive: Any, send: Any) -> None:
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


class Empty:
    """An application that answers nothing."""

    def __serve_build_asgi_app__(self) -> Any:
        return _lives


def build(_: dict[str, Any]) -> Application:
    """The application."""
    deployment: Any = serve.deployment(ray_actor_options={"num_cpus": 1})(serve.ingress()(Empty))
    application: Application = deployment.bind()
    return application
