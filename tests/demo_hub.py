"""The Hub on loopback with the example pair and a user in it; see scripts/demo-hub."""

import sys

from blockmerge.checkpoints.library import EXAMPLE
from tests.hub_server import HubServer
from tests.hub_store import Objects, Store

CARD = b"---\nlicense: apache-2.0\nlanguage: en\n---\n# An example\n"


def demo_store(objects: Objects | None = None) -> Store:
    """`demo/lowercase` and `demo/capitals`, and a user "demo" who may write to "demo"."""
    store = Store(objects)
    store.add_user("demo")
    for name in ("lowercase", "capitals"):
        repository = store.add_folder(f"demo/{name}", EXAMPLE / name)
        store.commit(repository, {"README.md": CARD})
    return store


def main(port: int) -> None:
    store = demo_store()
    server = HubServer(store, port)
    server.start()
    [user] = store.users.values()
    print(f"A Hub with demo/lowercase and demo/capitals is at {server.endpoint}. Ctrl-C stops it and forgets all.")
    print("In another terminal, so that blockmerge talks to this Hub and keeps its files apart:")
    print(f"  export HF_ENDPOINT={server.endpoint} HF_HOME=/tmp/demo-hub HF_TOKEN={user.token} HF_HUB_DISABLE_XET=1")
    try:
        server.join()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]))
