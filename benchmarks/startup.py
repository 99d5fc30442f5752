"""What striate adds to starting Python: `import striate` beside `import torch`, and `striate --help`.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time

import measure

STATEMENTS = {
    "import torch": "import torch",
    "import striate": "import striate",
    # What a user of the package has loaded once a network is built.
    "build a network": "import striate; striate.build('lenet5')",
    "build with torch": "import torch; torch.nn.Sequential(torch.nn.Conv2d(1, 6, 5), torch.nn.Linear(400, 10))",
    "striate --help": "from striate.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
    "striate train --help": "from striate.cli import main\ntry: main(['train', '--help'])\nexcept SystemExit: pass",
}


def seconds(statement: str) -> float:
    """A new interpreter, from start to end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure in turn and write results/startup.json."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for k in range(8):
        for name, statement in STATEMENTS.items():
            found = seconds(statement)
            if k:
                times[name].append(found)
    for name, values in times.items():
        print(f"{name:22} {measure.spread(values)['median']:.3f} s")
    measure.write(
        "startup",
        {
            "seconds": {name: measure.spread(values) for name, values in times.items()},
            "import_striate_over_import_torch": measure.ratios(times["import striate"], times["import torch"]),
            "build_over_torch": measure.ratios(times["build a network"], times["build with torch"]),
        },
    )


if __name__ == "__main__":
    main()
