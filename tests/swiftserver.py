# SPDX-License-Identifier: Apache-2.0
"""OpenStack's own Swift in one process, for tests: proxy, account, container and object server, each on loopback.

    python tests/swiftserver.py FOLDER          # prints the proxy's port once it answers; ends with its parent

It is Swift as it is released, with tempauth, temporary URLs, static large objects and server-side copies, on rings of
one device.  Two things are not as in a cluster: nothing is replicated, and tokens are kept in this process, where a
cluster has memcached.  The folder needs a file system with extended attributes.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import configparser  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from eventlet import wsgi  # noqa: E402
from swift.account.server import AccountController  # noqa: E402
from swift.common import storage_policy, utils  # noqa: E402
from swift.common.ring import RingData  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402
from swift.container.server import ContainerController  # noqa: E402
from swift.obj.server import ObjectController  # noqa: E402

ACCOUNT, USER, PASSWORD = "test", "tester", "a-password-of-the-store"
DEVICE = "disk"
FILTERS = ("catch_errors", "gatekeeper", "tokens", "copy", "tempurl", "tempauth", "slo")


class Tokens:
    """The part of memcached's client that tempauth and the proxy use."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, float]] = {}

    def get(self, key: str, raise_on_error: bool = False) -> Any:
        """See `swift.common.memcached`."""
        value, until = self._kept.get(key, (None, 0.0))
        return value if until > time.time() else None

    def set(self, key: str, value: Any, time: float = 0, **_options: Any) -> None:
        """See `swift.common.memcached`."""
        self._kept[key] = value, _now() + (time or 3600)

    def delete(self, key: str, **_options: Any) -> None:
        """See `swift.common.memcached`."""
        self._kept.pop(key, None)


def tokens(_global: Any, **_local: Any) -> Any:
    """A filter that hands the cache on."""
    cache = Tokens()

    def factory(app: Any) -> Any:
        def answer(environ: dict[str, Any], start_response: Any) -> Any:
            environ["swift.cache"] = cache
            return app(environ, start_response)

        return answer

    return factory


def _now() -> float:
    return time.time()


def main(folder: Path) -> None:
    """Serve until the parent is gone."""
    (folder / DEVICE).mkdir(parents=True)
    (folder / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = test\n[storage-policy:0]\nname = one\ndefault = yes\n"
    )
    utils.set_swift_dir(str(folder))
    storage_policy.reload_storage_policies()
    conf = {"devices": str(folder), "swift_dir": str(folder), "mount_check": "false", "bind_ip": "127.0.0.1"}
    conf["disable_fallocate"] = "true"
    logger = utils.get_logger(conf, name="swift", log_to_console=True)
    for kind, controller in (
        ("account", AccountController),
        ("container", ContainerController),
        ("object", ObjectController),
    ):
        listener = eventlet.listen(("127.0.0.1", 0))
        device = {"id": 0, "zone": 0, "region": 1, "weight": 1, "device": DEVICE, "ip": "127.0.0.1"}
        device |= {"port": listener.getsockname()[1]}
        RingData([[0, 0]], [device], 31).save(str(folder / f"{kind}.ring.gz"))
        app = controller(conf, logger=logger)
        eventlet.spawn(wsgi.server, listener, app, log_output=False)
    parser = configparser.ConfigParser()
    parser["DEFAULT"] = {"swift_dir": str(folder)}
    parser["pipeline:main"] = {"pipeline": " ".join((*FILTERS, "proxy"))}
    parser["app:proxy"] = {"use": "egg:swift#proxy", "account_autocreate": "true"}
    for name in FILTERS:
        parser[f"filter:{name}"] = {"use": f"egg:swift#{name}"}
    parser["filter:tokens"] = {"paste.filter_factory": "swiftserver:tokens"}
    parser["filter:tempauth"][f"user_{ACCOUNT}_{USER}"] = f"{PASSWORD} .admin"
    config = folder / "proxy.conf"
    with config.open("w") as file:
        parser.write(file)
    proxy = eventlet.listen(("127.0.0.1", 0))
    print(proxy.getsockname()[1], flush=True)
    wsgi.server(proxy, loadapp(str(config)), log_output=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
