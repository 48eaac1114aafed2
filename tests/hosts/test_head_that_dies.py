"""A head that dies where a Redis keeps what it knew: workers serve on, and `ray up` starts one that knows them."""

import os

import pytest

from tests.conftest import publish_tiny
from tests.hosts.cluster import application, artifact_source, prepared, redis, wait_until
from tests.hosts.load import load
from tests.hosts.maker import hosts

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="hosts need root, for their networks"),
]


@pytest.fixture
def cluster(tmp_path):
    publish_tiny(tmp_path / "artifacts")
    with hosts(3) as made, artifact_source(tmp_path / "artifacts"), redis(tmp_path / "redis") as address:
        environment = {"RAY_REDIS_ADDRESS": address}
        made_ready = prepared(tmp_path / "work", made, [application("tiny", 3)], environment=environment)
        yield made_ready
        made_ready.down()


def test_workers_serve_without_a_head_and_the_next_one_knows_their_cluster(cluster):
    head, *workers = cluster.hosts
    assert cluster.up().returncode == 0
    wait_until(lambda: all(cluster.version(host, "tiny") == "1" for host in cluster.hosts), 300)
    with load(cluster, workers) as seen:
        head.kill()
        answered = seen.answered
        wait_until(lambda: seen.answered >= answered + 500, 300)
        head.start()
        assert cluster.up().returncode == 0
        wait_until(lambda: cluster.version(head, "tiny") == "1", 300)
    assert seen.failures == []
    publish_tiny(cluster.folder.parent / "artifacts")
    wait_until(lambda: all(cluster.version(host, "tiny") == "2" for host in cluster.hosts), 300)
