"""Generator of the Python code of our ``.proto`` files: ``python -m bbs.wire.generate``.

The output is checked in beside its ``.proto``, so that neither an installation nor a build needs the
compiler; unit tests fail when it is out of date. The compiler (``grpcio-tools``) is a development dependency
only. Folders are listed by path, not imported: one generator serves all packages.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
PROTO_DIR = Path("bbs/wire/proto")
LOGGREGATOR_DIR = Path("executor/logs/proto")
FOLDERS = (PROTO_DIR, LOGGREGATOR_DIR)


def generate(output_root: Path = ROOT, folders: Sequence[Path] = FOLDERS) -> None:
    """Write ``*_pb2.py`` and ``*_pb2.pyi`` of every ``.proto`` in ``folders`` below ``output_root``.

    Raises :class:`RuntimeError` if the compiler fails; its error report is on stderr.
    """
    sources = sorted(
        str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).glob("*.proto")
    )
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={ROOT}",
            f"--python_out={output_root}",
            f"--pyi_out={output_root}",
            *sources,
        ]
    )
    if status != 0:
        raise RuntimeError(f"protoc failed with status {status} on {', '.join(sources)}")


def main(arguments: Sequence[str]) -> int:
    """Command line; an optional argument names another output directory."""
    generate(Path(arguments[0]) if arguments else ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
