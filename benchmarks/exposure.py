"""Exposure of the services, by `systemd-analyze security`: from 0 to 10, which is all of the machine.

The floor is the same unit without its restrictions. The command judges files; of a running service it also
knows the folders of the unit, and finds a little less.

    .venv/bin/python -m benchmarks.exposure
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, arguments_of, hand_on

UNITS = Path(__file__).resolve().parent.parent / "packaging" / "systemd"
SERVICES = {"cell": "diego-cell.service", "proxy": "diego-ssh-proxy.service"}
BARE = "[Service]\nExecStart=/bin/true\n"
_FOUND = re.compile(r"Overall exposure level for \S+: ([\d.]+)")


def exposure(unit: Path) -> float:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = _FOUND.search(text)
    assert found, text
    return float(found[1])


def main() -> None:
    arguments = arguments_of(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder, "bare.service")
        bare.write_text(BARE)
        floor = exposure(bare)
    figures = [Figure(name, exposure(UNITS / unit), "of 10", floor=floor) for name, unit in SERVICES.items()]
    for figure in figures:
        print(f"{SERVICES[figure.name]:24} {figure:.1f} of 10, without restrictions {figure.floor:.1f}")
    hand_on(figures, arguments.json)


if __name__ == "__main__":
    main()
