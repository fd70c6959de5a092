"""Tasks, LRPs, action trees, apps and buildpacks to try, as files of this package."""

from importlib import resources
from pathlib import Path

EXAMPLES = Path(str(resources.files(__name__)))
"""The folder of the files; pip installs packages unpacked."""
