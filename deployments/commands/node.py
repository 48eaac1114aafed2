"""`node start | drain | stop`: Ray on this host of a cluster."""

import argparse
import sys

from rich.console import Console

from deployments.hosts import node
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
                node.start_head(options.ray)
            case "start":
                node.start_worker(options.worker, options.ray)
            case "drain":
                node.drain(options.head, options.timeout)
            case "stop":
                node.stop(everywhere=options.everywhere)
    except HostError as error:
        print(f"trimtab: {error}", file=sys.stderr)
        return FAILED
    return 0
