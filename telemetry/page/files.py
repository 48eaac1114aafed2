"""The page's own files, held in memory: some thirty small ones, asked for at once."""

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_HERE = Path(__file__).parent
_MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def routes() -> list[Route]:
    """Each file below this folder that is of the page; `index.html` is at the root."""
    found = (path for path in sorted(_HERE.rglob("*")) if path.suffix in _MEDIA_TYPES)
    return [Route(f"/{name}", File(path).answer) for path in found for name in _names(path)]


def _names(path: Path) -> tuple[str, ...]:
    name = path.relative_to(_HERE).as_posix()
    return ("", name) if name == "index.html" else (name,)


class File:
    """One file; a browser that has it already is told so."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._media_type = _MEDIA_TYPES[path.suffix]
        self._headers = {"etag": f'"{hashlib.sha256(self._content).hexdigest()[:32]}"'}

    async def answer(self, request: Request) -> Response:
        """The file, or 304 where the browser's copy is the same."""
        if request.headers.get("if-none-match") == self._headers["etag"]:
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, media_type=self._media_type, headers=self._headers)
