"""`node start | drain | stop`: Ray on this host of a cluster."""

import argparse
import sys
from ipaddress import ip_network

from rich.console import Console

from deployments.errors import SettingsError
from deployments.hosts import node
from deployments.hosts.firewall import Guard, Network
from deployments.hosts.ssh import HostError

FAILED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `python -m deployments node`."""
    doings = parser.add_subparsers(dest="doing", required=True, metavar="start | drain | stop")
    start = doings.add_parser(
        "start", help="start Ray, and on the head Serve and serve_config.yaml; as cluster.yaml does"
    )
    which = start.add_mutually_exclusive_group(required=True)
    which.add_argument("--head", action="store_true", help="this host is the head")
    which.add_argument("--worker", metavar="HEAD", help="this host joins the head of this address")
    start.add_argument(
        "--private",
        type=_network,
        metavar="NETWORK",
        help="from outside of it, such as 10.0.0.0/24, only the ingress and ports below 1024 are reached; needs nft, "
        "and root or sudo without a password",
    )
    start.add_argument(
        "--open",
        type=int,
        action="append",
        default=[],
        metavar="PORT",
        help="of another service here, that --private leaves open, too; may be given several times",
    )
    start.add_argument("ray", nargs="*", metavar="-- OPTION", help="further options of `ray start`, after --")
    drain = doings.add_parser("drain", help="let replicas move to other hosts, then end Ray here")
    drain.add_argument("--head", required=True, metavar="HEAD", help="address of the head")
    drain.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="(default: 120)")
    stop = doings.add_parser("stop", help="end Ray and its ingress on this host")
    stop.add_argument("--everywhere", action="store_true", help="where this is the head, on all hosts of the cluster")


def run(options: argparse.Namespace, _: Console) -> int:
    """Do it; return the exit code."""
    try:
        match options.doing:
            case "start" if options.head:
                node.start_head(options.ray, _guard(options))
            case "start":
                node.start_worker(options.worker, options.ray, _guard(options))
            case "drain":
                node.drain(options.head, options.timeout)
            case "stop":
                node.stop(everywhere=options.everywhere)
    except HostError as error:
        print(f"trimtab: {error}", file=sys.stderr)
        return FAILED
    return 0


def _guard(options: argparse.Namespace) -> Guard | None:
    if options.open and not options.private:
        raise SettingsError(
            f"--open opens what --private closes, got --open {options.open[0]} alone: give --private, too"
        )
    return Guard(private=options.private, open_ports=tuple(options.open)) if options.private else None


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a network such as 10.0.0.0/24: {error}") from error
