"""The encryption key of all databases of one test process, for several applications share one."""

import tempfile
from pathlib import Path

_FOLDER = tempfile.TemporaryDirectory(prefix="af-keys-")
KEY_FILE = Path(_FOLDER.name) / "encryption.key"
