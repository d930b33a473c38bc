# SPDX-License-Identifier: Apache-2.0
"""Today's TUF 1.0 repositories, by the words of the rest of the library.

    from trust import standard

    reader = standard.open_reader("https://tuf.example.com", root=Path("root.json"), cache="~/.cache/app/tuf")
    target = reader.refresh().lookup("app/1.0.tar.gz")
    reader.download(target, Path("1.0.tar.gz"))

    repository = standard.StandardRepository(Path("public"), keys, name="example/app")
    repository.publish(repository.store("app/1.0.tar.gz", data), create=Creation())

`Target`, the edits (`SetTarget`, `RemoveTarget`, `Delegate`, `ReplaceKeys`, …), `Creation`, `Published`, `KeyFolder`
and the errors are those of Notary v1.  The rules are python-tuf's: its client verifies, its model writes.
docs/decisions/0020-standard-tuf.md says where the two dialects part.
"""

from trust.standard.collection import StandardCollection
from trust.standard.names import StandardRole
from trust.standard.places import Folder, Place, Web
from trust.standard.reader import StandardReader, open_reader
from trust.standard.repository import LIFETIMES, StandardRepository

__all__ = [
    "LIFETIMES",
    "Folder",
    "Place",
    "StandardCollection",
    "StandardReader",
    "StandardRepository",
    "StandardRole",
    "Web",
    "open_reader",
]
