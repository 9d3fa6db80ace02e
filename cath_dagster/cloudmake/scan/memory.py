"""Up to which commit a scan was clean, in a file that the operator names; whatever is wrong with it causes more scanning.

It counts for the same scanner, rules and baseline alone, and is signed: who may write into the repository, or the folder,
cannot have commits passed over.
"""

import hmac
import json
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cath_dagster.cloudmake.scan.key import ScanKey
from cath_dagster.core.untrusted_json import parse_json


@dataclass(frozen=True)
class Memory:
    """The file, the key that signs it, and all that must not have changed since."""

    path: Path
    key: ScanKey
    circumstances: str

    def recall(self) -> str | None:
        """Return the commit up to which all was clean; None for anything but what we wrote under the same circumstances."""
        try:
            found = parse_json(self.path.read_text(encoding="utf-8"))
            commit, signature = str(found["commit"]), str(found["signature"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return commit if hmac.compare_digest(signature.encode(), self._sign(commit).encode()) else None

    def keep(self, commit: str) -> str | None:
        """Write down that all is clean up to a commit; return why it could not be, None if it was."""
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            new.write_text(json.dumps({"commit": commit, "signature": self._sign(commit)}), encoding="utf-8")
            new.replace(self.path)
        except OSError as error:
            return f"{self.path} cannot be written ({error.strerror}), so that the next scan looks at the whole history"
        return None

    def _sign(self, commit: str) -> str:
        return self.key.sign(f"clean up to {commit} {self.circumstances}")


def circumstances(*parts: bytes) -> str:
    """Return what tells circumstances apart."""
    return sha256(b"\0".join(sha256(part).digest() for part in parts)).hexdigest()
