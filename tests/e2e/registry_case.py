# SPDX-License-Identifier: Apache-2.0
"""A test against ScriptedRegistry, with a check of the store after it."""
import hashlib
import json
import threading

from fake_registry import ScriptedRegistry
from harness import DrayTestCase


def serve_each(listener, handle):
    """Calls `handle(client)` in a thread of its own for each connection, until the listener is closed."""
    def loop():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(client,), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()


class RegistryTestCase(DrayTestCase):
    needs_base = False

    def serve(self, *arguments, **options):
        registry = ScriptedRegistry(*arguments, **options)
        self.addCleanup(registry.stop)
        return registry

    def check_store(self, kept_partials=False):
        """Every blob is what its name says, and nothing unfinished is left."""
        for path in (self.root / "content" / "blobs" / "sha256").iterdir():
            self.assertEqual(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
        left = [path.name for path in (self.root / "content" / "ingest").iterdir()]
        self.assertEqual([], [name for name in left if not (kept_partials and name.startswith("partial-"))])

    def forget(self, *names):
        """Removes the images and what they were made of."""
        for name in names:
            self.ok("rmi", name)
        self.ok("system", "prune", "-f", "-a")

    def credentials(self, registry, entry):
        """The environment with a docker config.json that has `entry` for the registry."""
        return {"DOCKER_CONFIG": str(self.context({"config.json": json.dumps({"auths": {registry.address: entry}})}))}
