"""The cluster as its own source of artifacts, `cluster://`: versions are pushed once and lie on its nodes' disks.

push: directory -> this node's store -> a second node's -> announced in Ray's key-value store = acknowledged
look: replica -> fsspec -> `ClusterFiles` -> its node's store -> pieces from any nodes that have them, each once
"""
