"""Whether a folder lies on storage of this machine's own.

A file that is mapped from elsewhere may shrink or vanish meanwhile, and reading it then kills the process (SIGBUS).
"""

import os
import stat
import tempfile
from pathlib import Path

import psutil

LOCAL = frozenset(
    ("apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs", "overlay", "ramfs", "tmpfs", "xfs")
) | {"zfs"}
"""File systems that are one machine's own; what is not among them counts as shared."""


def file_system(path: Path) -> str:
    """The kind of file system that `path` lies on or would lie on, such as "ext4" or "nfs4"; empty if nobody knows."""
    found, kind, longest = path.resolve(), "", -1
    for mount in psutil.disk_partitions(all=True):
        if found.is_relative_to(mount.mountpoint) and len(mount.mountpoint) >= longest:  # a later one lies on top
            kind, longest = mount.fstype, len(mount.mountpoint)
    return kind


def is_local(path: Path) -> bool:
    """Whether `path` lies on this machine's own storage."""
    return file_system(path) in LOCAL


def local_folder(name: str) -> Path | None:
    """A folder of this user's alone on local storage, under the machine's directory for temporary files; none where
    that lies elsewhere, or where the folder is somebody else's.
    """
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    if not is_local(folder):
        return None
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if is_ours else None
