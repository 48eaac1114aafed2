"""Pages of other sites, as browsers send their requests, before a server without keys; and the programs that go on."""

import asyncio

import httpx
import pytest

from deployments.access.guard import of_model, of_server
from deployments.access.origin import without_other_sites
from deployments.http.asgi import respond

UNLOAD, INFER, METADATA = "/v2/repository/models/a/unload", "/v2/models/a/infer", "/v2/models/a"
BROWSER = {"sec-fetch-mode": "cors", "user-agent": "Mozilla/5.0"}
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


def answered(method, path, headers=None, *, host="localhost:8000", any_host=False, content=b"", need=of_server):
    """Status and words of the answer to a request for `host`."""

    async def app(scope, receive, send):
        await respond(send, 200, b"{}")

    guarded = without_other_sites(app, need, any_host=any_host)

    async def main():
        transport = httpx.ASGITransport(guarded)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, headers=headers, content=content)

    response = asyncio.run(main())
    return response.status_code, response.json().get("error", "")


@pytest.mark.parametrize("path", [UNLOAD, INFER])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_a_page_of_another_site_may_not_send_anything(path, headers):
    status, said = answered("POST", path, headers | BROWSER | JSON)
    assert status == 403
    assert "a page may only POST to its own server, got Origin" in said


@pytest.mark.parametrize("path", [UNLOAD, INFER, METADATA])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_a_name_that_was_turned_to_this_machine_is_not_answered(path, host):
    """DNS rebinding: to the browser, the page then is of the server's own site."""
    for method in ("GET", "POST"):
        status, said = answered(method, path, {"sec-fetch-site": "same-origin"}, host=host)
        assert status == 403
        assert "Host must be localhost or an address, as this server answers its own machine only" in said
        assert f"got '{host}'" in said


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", FORM["content-type"]])
def test_a_form_may_not_change_anything(kind):
    """An old browser sends a form to another site without saying where it is from."""
    status, said = answered("POST", UNLOAD, {"content-type": kind})
    assert status == 403
    assert f"Content-Type must be application/json or none for what changes something, got '{kind}'" in said


@pytest.mark.parametrize(
    ("method", "path", "headers", "content"),
    [
        ("POST", UNLOAD, None, b""),  # curl -X POST
        ("POST", UNLOAD, FORM, b"{}"),  # curl -d '{}'
        ("POST", UNLOAD, JSON, b"{}"),
        ("POST", INFER, FORM, b'{"inputs": []}'),  # curl -d @example.json, as the banner says
        ("POST", INFER, {"content-type": "application/octet-stream"}, b"x"),
        ("POST", INFER, None, b"x"),  # tritonclient
        ("POST", UNLOAD, {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"} | JSON, b"{}"),
        ("POST", UNLOAD, {"origin": "http://LOCALHOST:8000"} | JSON, b"{}"),
        ("POST", UNLOAD, {"sec-fetch-site": "none"} | JSON, b"{}"),
        ("GET", METADATA, {"sec-fetch-site": "cross-site"}, b""),  # a link to it; no page may read the answer
    ],
)
def test_programs_and_the_servers_own_page_are_answered(method, path, headers, content):
    assert answered(method, path, headers, content=content) == (200, "")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "192.0.2.7", "a.localhost"]
)
def test_names_and_addresses_of_this_machine_are_answered(host):
    assert answered("POST", INFER, host=host, need=of_model("a")) == (200, "")


def test_a_server_for_the_network_may_have_any_name_but_no_other_sites_pages():
    assert answered("POST", UNLOAD, JSON, host="models.example", any_host=True) == (200, "")
    status, _ = answered("POST", UNLOAD, {"origin": "http://evil.example"}, host="models.example", any_host=True)
    assert status == 403
