"""`ray up cluster.yaml` on three hosts, as a user calls it: up, served on every host, published, a host lost, down."""

import os

import httpx
import pytest

from tests.conftest import publish_tiny
from tests.hosts.cluster import (
    GRPC_PORT,
    HTTP_PORT,
    application,
    artifact_source,
    listens,
    prepared,
    wait_until,
)
from tests.hosts.maker import hosts

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="hosts need root, for their networks"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    publish_tiny(folder / "artifacts")
    with hosts(3) as made, artifact_source(folder / "artifacts"):
        yield prepared(folder / "work", made, [application("tiny", 2)])


def test_a_cluster_from_up_to_down(cluster):
    """One test: to bring it up takes most of the time."""
    first, second, third = cluster.hosts
    done = cluster.up()
    assert done.returncode == 0, done.stdout[-3000:]
    assert "3 hosts have joined" in done.stdout
    for host in cluster.hosts:  # with or without a replica of the model
        wait_until(lambda host=host: cluster.version(host, "tiny") == "1")
        assert httpx.get(cluster.url(host, "/v2"), timeout=10).status_code == 401
        assert listens(host.address, GRPC_PORT)
        assert not (host.home / "trimtab" / "optimization").exists(), "no checkout is copied"
        told = "\n".join(host.processes())
        assert cluster.key not in told
        assert (cluster.folder / ".ray" / "auth_token").read_text() not in told
        assert {port for port in host.listening() if listens(host.outer_address, port)} == {HTTP_PORT, GRPC_PORT}

    again = cluster.up()
    assert "stays as it is" in again.stdout, again.stdout[-3000:]

    publish_tiny(cluster.folder.parent / "artifacts")
    wait_until(lambda: {cluster.version(host, "tiny") for host in cluster.hosts} == {"2"})

    third.kill()
    wait_until(lambda: {cluster.version(host, "tiny") for host in (first, second)} == {"2"})

    third.start()
    done = cluster.down()
    assert done.returncode == 0, done.stdout[-3000:]
    for host in cluster.hosts:
        assert host.processes() == []
        assert set(host.listening()) == {22}
        assert "trimtab" not in host.run("nft list tables").stdout
