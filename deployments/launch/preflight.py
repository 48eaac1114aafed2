"""What can be known to fail before Ray starts: settings, artifacts, ports."""

import os
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from deployments.access import keys
from deployments.access.guard import keys_file
from deployments.cascade.cascade import calibrated
from deployments.embeddings import initial
from deployments.embeddings.inputs import embedded_inputs
from deployments.embeddings.settings import EmbeddingSettings
from deployments.embeddings.table import Table
from deployments.errors import SettingsError, brief
from deployments.ingress.haproxy import TLS_CERT
from deployments.replicas.source import CLUSTER, find, is_url, published
from deployments.settings import AccessSettings, ModelSettings, ServerSettings, parse, split_access
from deployments.stages.declared import PipelineSettings
from deployments.stages.plan import planned
from optimization.artifact.manifest import Manifest
from optimization.artifact.signature import SignatureError
from optimization.artifact.store import ArtifactError, load
from telemetry.config import CollectorConfig

DEFAULT_HTTP_PORT = 8000
DEFAULT_GRPC_PORT = 9000
"""Ray's own, where `serve_config.yaml` names none."""
_RECIPES = Path("optimization/recipes")


def check(config: Mapping[str, Any], *, ports: bool = True) -> None:
    """Check Trimtab's applications in a parsed `serve_config.yaml`.

    `ports` says whether they are about to be opened on this machine, and so must be free.

    Raises:
        SettingsError: a setting breaks its rule, or a port is taken.
        ArtifactError: an artifact is missing or damaged; the message says what makes it.
    """
    check_shape(config)
    for application in applications(config):
        check_application(application, config)
        if ports:
            for setting, host, port in collector_ports(application):
                check_port(host, port, setting)
    check_certificate()
    if ports:
        host, port = http_address(config)
        check_port(host, port, "http_options.port")
        grpc_port = grpc_port_of(config)
        if grpc_port is not None:
            check_port(host, grpc_port, "grpc_options.port")


def check_application(application: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Check one of Trimtab's applications in a parsed `serve_config.yaml`; of others nothing is known.

    Raises:
        SettingsError: a setting breaks its rule.
        ArtifactError: an artifact is missing or damaged; the message says what makes it.
    """
    builder, args = application.get("import_path", ""), application.get("args") or {}
    where = _where(application)
    file = keys_of(application, config)
    if file is not None:
        keys.load(file)
    match builder:
        case "deployments.app:model":
            settings = parse(ModelSettings, args, where)
            _check_names(application, settings.artifact)
            _check_model(settings, _tables(config))
            _check_teacher(application.get("name", "default"), settings, config)
        case "deployments.app:pipeline":
            pipeline = parse(PipelineSettings, args, where)
            _check_names(application, pipeline.name)
            _check_pipeline(pipeline, where)
        case "deployments.app:embeddings":
            table = parse(EmbeddingSettings, args, where)
            _check_route(application, f"/v2/embeddings/{table.table}")
            initial.check(table.initial, table.shape())
        case "deployments.app:server":
            parse(ServerSettings, args, where)
        case "deployments.app:telemetry":
            parse(CollectorConfig, split_access(args)[1], where)


def keys_of(application: Mapping[str, Any], config: Mapping[str, Any]) -> Path | None:
    """The file of keys that one of Trimtab's applications goes by; none where everyone is answered.

    Raises:
        SettingsError: it is not said, and others than this machine could call.
    """
    if not application.get("import_path", "").startswith("deployments.app:"):
        return None
    access, _ = split_access(application.get("args") or {})
    return keys_file(parse(AccessSettings, access, _where(application)).access, http_address(config)[0])


def collector_ports(application: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Setting, host and port of what the collector listens on, where this is its application.

    Raises:
        SettingsError: a setting of it breaks its rule.
    """
    if application.get("import_path") == "deployments.app:telemetry":
        where = _where(application)
        collector = parse(CollectorConfig, split_access(application.get("args") or {})[1], where)
        yield f"{where}.grpc_port", collector.host, collector.grpc_port
        yield f"{where}.http_port", collector.host, collector.http_port


def _where(application: Mapping[str, Any]) -> str:
    return f"application {application.get('name', 'default')!r}: args"


def check_shape(config: Mapping[str, Any]) -> None:
    """Check that what is read of the file here is of the kind that it is taken for; Ray's own schema comes later.

    Raises:
        SettingsError: it is not.
    """
    options = {name: config.get(name) for name in ("http_options", "grpc_options")}
    _check_kinds("", options, {"http_options": dict, "grpc_options": dict})
    _check_kinds("http_options.", options["http_options"] or {}, {"host": str, "port": int})
    _check_kinds("grpc_options.", options["grpc_options"] or {}, {"port": int, "grpc_servicer_functions": list})
    kinds = {"name": str, "route_prefix": str, "import_path": str, "args": dict}
    for application in applications(config):
        _check_kinds(f"application {application.get('name', 'default')!r}: ", application, kinds)


def check_certificate() -> Path | None:
    """The certificate that the ingress is to show, if there is one.

    Raises:
        SettingsError: it cannot be used.
    """
    certificate = os.environ.get(TLS_CERT)
    if not certificate:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"{TLS_CERT} must name a PEM file with a certificate and its private key, got {certificate}: {error}"
        ) from error
    binary = Path(os.environ.get("RAY_SERVE_HAPROXY_BINARY_PATH", "")).name
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1" or binary != "trimtab-haproxy":
        raise SettingsError(
            f"{TLS_CERT} needs the ingress trimtab-haproxy, which RAY_SERVE_ENABLE_HA_PROXY or "
            "RAY_SERVE_HAPROXY_BINARY_PATH turns off: unset them"
        )
    return Path(certificate)


def http_address(config: Mapping[str, Any]) -> tuple[str, int]:
    """Host and port the ingress is to listen on."""
    options = config.get("http_options") or {}
    return options.get("host", "0.0.0.0"), options.get("port", DEFAULT_HTTP_PORT)


def grpc_port_of(config: Mapping[str, Any]) -> int | None:
    """The port the ingress is to listen on for gRPC, on the host of HTTP; none where there is no service."""
    options = config.get("grpc_options") or {}
    return options.get("port", DEFAULT_GRPC_PORT) if options.get("grpc_servicer_functions") else None


def models(config: Mapping[str, Any]) -> list[tuple[str, ModelSettings]]:
    """Route prefix and settings of each model."""
    return [
        (application.get("route_prefix", "/"), parse(ModelSettings, application.get("args") or {}, "args"))
        for application in config.get("applications") or []
        if application.get("import_path") == "deployments.app:model"
    ]


def pipelines(config: Mapping[str, Any]) -> list[str]:
    """Route prefix of each pipeline."""
    return [
        application.get("route_prefix", "/")
        for application in config.get("applications") or []
        if application.get("import_path") == "deployments.app:pipeline"
    ]


def free_port_from(first: int) -> int:
    """The first port from there on that nobody listens on, at any address."""
    for port in range(first, first + 1000):
        with suppress(OSError):
            _bind("", port)
            return port
    raise SettingsError(f"a port from {first} to {first + 999} must be free, got none: end what listens there")


def free_udp_port(wanted: int) -> int:
    """`wanted`, or any free port where it is taken for UDP."""
    try:
        _bind("", wanted, socket.SOCK_DGRAM)
    except OSError:
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            probe.bind(("", 0))
            port: int = probe.getsockname()[1]
            return port
    return wanted


def applications(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Those of a parsed `serve_config.yaml`.

    Raises:
        SettingsError: they are no list.
    """
    found = config.get("applications") or []
    if not isinstance(found, list):
        raise SettingsError(f"applications must be a list, got {type(found).__name__}")
    for application in found:
        if isinstance(application, dict):  # whatever else is wrong with it, Ray's own schema says
            yield application


def _check_kinds(where: str, given: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        value = given.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise SettingsError(f"{where}{name} must be of type {kind.__name__}, got {brief(value)}")


def _check_names(application: Mapping[str, Any], artifact: str) -> None:
    """A model has one name: gRPC and the repository find its application by it, the ingress its route."""
    wanted = {"name": artifact, "route_prefix": f"/v2/models/{artifact}"}
    got = {"name": application.get("name", "default"), "route_prefix": application.get("route_prefix", "/")}
    for setting, value in wanted.items():
        if got[setting] != value:
            raise SettingsError(
                f"application {got['name']!r}: {setting} must be {value!r}, as its args name {artifact!r}, "
                f"got {got[setting]!r}"
            )


def _check_route(application: Mapping[str, Any], wanted: str) -> None:
    got = application.get("route_prefix", "/")
    if got != wanted:
        name = application.get("name", "default")
        raise SettingsError(
            f"application {name!r}: route_prefix must be {wanted!r}, as its args.table says, got {got!r}"
        )


def _tables(config: Mapping[str, Any]) -> dict[str, Table]:
    """Those that applications of the file hold, by name; what is wrong with one is said when its turn comes."""
    found = {}
    for application in applications(config):
        if application.get("import_path") == "deployments.app:embeddings":
            with suppress(SettingsError):
                table = parse(EmbeddingSettings, application.get("args") or {}, "args").shape()
                found[table.name] = table
    return found


def _check_model(settings: ModelSettings, tables: Mapping[str, Table]) -> None:
    if settings.artifacts == CLUSTER:  # it runs in Ray, which does not yet; the builder looks there
        return
    recipe = _RECIPES / f"{settings.artifact}.yaml"
    make = f"python -m optimization {recipe if recipe.exists() else '<recipe.yaml>'}"
    try:
        for version in settings.version or (None,):
            with published(settings.source(), version) as copy:
                _check_tables(load(copy.path).manifest, settings, tables)
    except ArtifactError as error:
        if is_url(settings.artifacts) or isinstance(error, SignatureError):
            raise
        raise ArtifactError(f"{error}\nMake it with: {make}") from error


def _check_pipeline(settings: PipelineSettings, where: str) -> None:
    here = str(Path.cwd())
    if here not in sys.path:  # where Ray's command looks for functions, too
        sys.path.insert(0, here)
    try:
        planned(settings)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error


def _check_teacher(name: str, settings: ModelSettings, config: Mapping[str, Any]) -> None:
    """Of a cascade: the artifact was measured as one, and its teacher is served by the version of then."""
    if settings.cascade is None or settings.artifacts == CLUSTER:  # what is pushed says so when it is loaded
        return
    with published(settings.source(), settings.answering) as copy:
        teacher, _, version = calibrated(load(copy.path).manifest, settings.cascade.teacher).teacher.rpartition("/")
    setting = f"application {name!r}: args.cascade.teacher"
    if settings.cascade.in_process:
        find(settings.model_copy(update={"artifact": teacher}).source(), version)
        return
    served = {each.artifact: each for _, each in models(config)}
    if teacher not in served:
        raise SettingsError(f"{setting} must be a model of this file or have cascade.in_process, got {teacher!r}")
    if served[teacher].artifacts == CLUSTER:
        return
    kept = served[teacher].version or served[teacher].source().versions()[-served[teacher].keep_versions :]
    if version not in kept:
        raise SettingsError(
            f"{setting}: model {teacher!r} must serve version {version!r}, which {settings.artifact!r} was measured "
            f"with, got {', '.join(kept)}: name it in the teacher's args.version, or measure the cascade anew"
        )


def _check_tables(manifest: Manifest, settings: ModelSettings, tables: Mapping[str, Table]) -> None:
    for each in embedded_inputs(manifest, settings.embeddings):
        if each.table not in tables:
            raise SettingsError(
                f"embeddings.{each.rows.name}.table must be one that an application of deployments.app:embeddings "
                f"holds, {', '.join(tables) or 'there is none'}; got {each.table!r}"
            )
        each.check(tables[each.table])


def check_port(host: str, port: int, setting: str) -> None:
    """Whether a port may be opened.

    Raises:
        SettingsError: something listens there.
    """
    try:
        _bind(host, port)
    except OSError as error:
        raise SettingsError(
            f"{setting} must be free, got {port}: {error.strerror} ({host}:{port}). "
            "End what listens there, or give another port in serve_config.yaml"
        ) from error


def _bind(host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    """Bind and let go. Without SO_REUSEPORT, so that a listener which has it counts as well."""
    with socket.socket(type=kind) as probe:
        if kind == socket.SOCK_STREAM:  # a connection that ended a moment ago is none; two of UDP would share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
