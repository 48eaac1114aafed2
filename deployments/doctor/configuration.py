"""Whether a `serve_config.yaml` can be served from here: applications, keys, certificate, ports."""

import os
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from deployments.access import keys
from deployments.commands.client import Client
from deployments.doctor.certificate import valid_until
from deployments.doctor.finding import Finding, Verdict
from deployments.errors import CallError, SettingsError
from deployments.ingress.haproxy import TLS_CERT
from deployments.launch import preflight
from deployments.replicas.source import is_url
from optimization.artifact.store import ArtifactError

SOON_DAYS = 14
"""What expires within so many days is said."""


def read(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        SettingsError: it is none.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} must be a YAML file, got: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold a mapping, got {type(content).__name__}")
    return content


def findings(path: Path, client: Client, *, on_several_hosts: bool) -> Iterator[Finding]:
    """What is to be said of the file; `client` is what asks a server that may run already."""
    try:
        config = read(path)
        found = list(preflight.applications(config))
    except SettingsError as error:
        yield Finding(where=str(path), what="settings", found=str(error), verdict=Verdict.FAULT, mend="mend the file")
        return
    for application in found:
        yield _application(application, config)
        yield from _sources(application, on_several_hosts=on_several_hosts)
    yield from _keys(path, config)
    yield from _certificate()
    server = _server(client)
    yield server
    yield from _ports(path, config, is_serving=server.verdict is Verdict.FINE and server.found != _NONE)


_NONE = "none answers"


def _application(application: Mapping[str, Any], config: Mapping[str, Any]) -> Finding:
    name = str(application.get("name", "default"))
    began_s = time.perf_counter()
    try:
        preflight.check_application(application, config)
    except (ArtifactError, SettingsError) as error:
        said = "; ".join(str(error).splitlines())
        mend = "publish it, or name its place in args.artifacts" if isinstance(error, ArtifactError) else "mend args"
        return Finding(where=name, what="application", found=said, verdict=Verdict.FAULT, mend=mend)
    took_s = time.perf_counter() - began_s
    return Finding(where=name, what="application", found=f"settings and artifacts are whole ({took_s:.1f} s to read)")


def _sources(application: Mapping[str, Any], *, on_several_hosts: bool) -> Iterator[Finding]:
    artifacts = str((application.get("args") or {}).get("artifacts", "artifacts"))
    if application.get("import_path") != "deployments.app:model" or is_url(artifacts) or not on_several_hosts:
        return
    yield Finding(
        where=str(application.get("name", "default")),
        what="artifacts",
        found=f"{artifacts}, a directory, for several hosts",
        verdict=Verdict.WARNING,
        mend="make it a network's, or name one source for all (docs/operations.md): else hosts see other versions",
    )


def _keys(path: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    files: set[Path] = set()
    for application in preflight.applications(config):
        try:
            file = preflight.keys_of(application, config)
        except SettingsError:
            continue  # its application says so
        if file is not None:
            files.add(file)
    if not files:
        yield Finding(where=str(path), what="keys", found="everyone is answered who can reach the ports")
    for file in sorted(files):
        yield from _keys_file(file)


def _keys_file(file: Path) -> Iterator[Finding]:
    try:
        entries = keys.load(file).keys
        mode = file.stat().st_mode & 0o777
    except (OSError, SettingsError) as error:
        mend = "python -m deployments key add <id>"
        yield Finding(where=str(file), what="keys", found=str(error), verdict=Verdict.FAULT, mend=mend)
        return
    for key in entries:
        if key.expires is not None:
            mend = f"make another (key add) and revoke it (key revoke {key.id})"
            yield _ending(str(file), f"key {key.id!r}", key.expires, mend, Verdict.WARNING)
    if mode & 0o077:
        yield Finding(
            where=str(file),
            what="keys",
            found=f"others may read it (mode {mode:o})",
            verdict=Verdict.WARNING,
            mend=f"chmod 600 {file}",
        )
    now = datetime.now(UTC)
    usable = [key for key in entries if not key.has_expired(now)]
    if not usable:
        mend = "python -m deployments key add <id>"
        yield Finding(where=str(file), what="keys", found="no key opens", verdict=Verdict.FAULT, mend=mend)
    elif not any(key.admin for key in usable):
        mend = "python -m deployments key add <id> --admin, where models are to be loaded and the page seen"
        yield Finding(
            where=str(file), what="keys", found="none is an administrator's", verdict=Verdict.WARNING, mend=mend
        )
    else:
        yield Finding(where=str(file), what="keys", found=f"{len(usable)} open")


def _certificate() -> Iterator[Finding]:
    try:
        path = preflight.check_certificate()
    except SettingsError as error:
        mend = f"mend the file, or unset {TLS_CERT}"
        yield Finding(where=TLS_CERT, what="certificate", found=str(error), verdict=Verdict.FAULT, mend=mend)
        return
    if path is None:
        yield Finding(where=TLS_CERT, what="certificate", found="none: the ingress speaks no TLS")
        return
    mend = "have it renewed; a running ingress takes the new file within a minute"
    try:
        yield _ending(str(path), "certificate", valid_until(path), mend, Verdict.FAULT)
    except (ssl.SSLError, OSError, KeyError) as error:
        yield Finding(where=str(path), what="certificate", found=repr(error), verdict=Verdict.FAULT, mend=mend)


def _ending(where: str, what: str, ends: datetime, mend: str, if_expired: Verdict) -> Finding:
    days = (ends - datetime.now(UTC)).total_seconds() / 86_400
    on = f"{ends:%Y-%m-%d}"
    if days < 0:
        return Finding(where=where, what=what, found=f"expired on {on}", verdict=if_expired, mend=mend)
    if days < SOON_DAYS:
        found = f"expires in {days:.1f} days, on {on}"
        return Finding(where=where, what=what, found=found, verdict=Verdict.WARNING, mend=mend)
    return Finding(where=where, what=what, found=f"valid until {on}")


def _server(client: Client) -> Finding:
    try:
        client.ask("GET", "/v2/health/ready")
    except CallError as error:
        if error.status is None:
            return Finding(where=client.url, what="server", found=_NONE)
        mend = "python -m deployments status; the repository index says what a model waits for"
        return Finding(where=client.url, what="server", found=str(error), verdict=Verdict.FAULT, mend=mend)
    return Finding(where=client.url, what="server", found="ready")


def _ports(path: Path, config: Mapping[str, Any], *, is_serving: bool) -> Iterator[Finding]:
    host, port = preflight.http_address(config)
    wanted = [("http_options.port", host, port)]
    grpc_port = preflight.grpc_port_of(config)
    if grpc_port is not None:
        wanted.append(("grpc_options.port", host, grpc_port))
    for application in preflight.applications(config):
        try:
            wanted += preflight.collector_ports(application)
        except SettingsError:
            continue  # its application says so
    for setting, address, number in wanted:
        where, what = str(path), setting
        try:
            preflight.check_port(address, number, setting)
            yield Finding(where=where, what=what, found=f"{number} is free")
        except SettingsError as error:
            if is_serving:
                yield Finding(where=where, what=what, found=f"{number} is open: the server that answers has it")
            else:
                mend = f"find who listens: ss -ltnp 'sport = :{number}'" if os.name == "posix" else ""
                yield Finding(where=where, what=what, found=str(error), verdict=Verdict.FAULT, mend=mend)
