"""Nodes of one process with stores of their own, real folders and real pieces; only Ray's calls between them are left
out."""

from deployments.pushed.catalogue import Catalogue
from deployments.pushed.fetch import PeerError
from deployments.pushed.node import NodeStore
from tests.deployments.replicas.shared_store import SharedStore


class Nodes:
    """A cluster of nodes; `sent` counts the bytes of pieces that each gave."""

    def __init__(self, root, names="abc"):
        self.root = root
        self.kept = SharedStore()
        self.catalogue = Catalogue(self.kept)
        self.dead = set()
        self.sent = {}
        self.alter = lambda node, content: content
        self.before_read = lambda node, piece: None
        self.stores = {}
        for name in names:
            self.start(name)

    def start(self, name):
        """A store on the node's disk, with nothing in memory."""
        seen = self.seen_from(name)
        store = NodeStore(name, self.root / name, self.catalogue, seen, sleep=lambda _: None)
        self.stores[name] = store
        return store

    def seen_from(self, name):
        return _Seen(self, name)

    def on(self, node):
        if node in self.dead:
            raise PeerError(f"node {node} does not answer")
        return self.stores[node]


class _Seen:
    """The other nodes, as one of them calls them."""

    def __init__(self, nodes, here):
        self.here = here
        self._nodes = nodes

    def others(self):
        return sorted(self._nodes.stores.keys() - self._nodes.dead - {self.here})

    def holders(self, key):
        return [node for node in self._nodes.catalogue.holders(key) if node != self.here]

    def pieces(self, node, key):
        return self._nodes.on(node).pieces(key)

    def read(self, node, key, piece):
        self._nodes.before_read(node, piece)
        content = self._nodes.on(node).read(key, piece)
        if content is not None:
            self._nodes.sent[node] = self._nodes.sent.get(node, 0) + len(content)
            content = self._nodes.alter(node, content)
        return content

    def received(self, node, name):
        return self._nodes.on(node).received(name)

    def take(self, path, mb_per_s):
        return self._nodes.on(self.here).take(path, mb_per_s)

    def fetch(self, node, announcement):
        return self._nodes.on(node).fetch(announcement)

    def release(self, node, key):
        self._nodes.on(node).release(key)
