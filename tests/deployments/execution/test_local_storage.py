"""Which folders may hold files that are mapped."""

import os
import tempfile
from pathlib import Path

import psutil
import pytest

from deployments.execution import local_storage
from deployments.execution.local_storage import file_system, is_local, local_folder


class Mount:
    def __init__(self, mountpoint, fstype):
        self.mountpoint, self.fstype = str(mountpoint), fstype


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    listed = [Mount("/", "ext4"), Mount(tmp_path / "home", "nfs4"), Mount(tmp_path / "home" / "fast", "xfs")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: listed)
    return listed


def test_the_innermost_mount_says_what_a_folder_lies_on(tmp_path, mounts):
    assert file_system(tmp_path / "not" / "yet" / "there") == "ext4"
    assert file_system(tmp_path / "home" / "cache") == "nfs4"
    assert file_system(tmp_path / "home" / "fast" / "cache") == "xfs"
    assert file_system(tmp_path / "homely") == "ext4"


def test_a_link_counts_as_where_it_leads(tmp_path, mounts):
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    assert not is_local(tmp_path / "link" / "cache")


def test_a_later_mount_lies_on_top_and_what_nobody_knows_is_not_local(tmp_path, mounts):
    mounts.append(Mount(tmp_path / "home", "fuse.sshfs"))
    assert file_system(tmp_path / "home") == "fuse.sshfs"
    assert not is_local(tmp_path / "home")
    mounts.clear()
    assert not is_local(tmp_path)


def test_a_local_folder_is_this_users_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(local_storage, "is_local", lambda _: True)
    folder = local_folder("x")
    assert folder == tmp_path / f"x-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert local_folder("x") is None
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert local_folder("x") is None


def test_the_machine_itself_tells_its_file_systems():
    assert file_system(Path(__file__))
