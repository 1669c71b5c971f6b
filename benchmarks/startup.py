"""Measure what a user waits for before anything happens: ``lacy --help``, ``import lacy``.

    python benchmarks/startup.py --out benchmarks/results/startup.csv

Each command runs in a fresh process after one warm-up. The minimum and the median of the times are
written with their conditions. Compare the minimum: everything above it is due to other processes
on the machine (their number is in the column ``load``).
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lacy.run import environment

COMMANDS = {
    "bare interpreter": [sys.executable, "-c", "pass"],
    "import lacy": [sys.executable, "-c", "import lacy"],
    "lacy --help": [str(Path(sys.executable).with_name("lacy")), "--help"],
    "lacy trian (typo)": [str(Path(sys.executable).with_name("lacy")), "trian"],
    "lacy train --help": [str(Path(sys.executable).with_name("lacy")), "train", "--help"],
}


def measure(command, repeats):
    """Return wall and CPU seconds of each of ``repeats`` runs after a warm-up."""
    wall, cpu = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall.append(time.perf_counter() - start)
        cpu.append(usage.ru_utime + usage.ru_stime)
        process.returncode = os.waitstatus_to_exitcode(status)
    return wall[1:], cpu[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/startup.csv"))
    arguments = parser.parse_args()
    found = environment()
    rows = []
    for name, command in COMMANDS.items():
        seconds, cpu = measure(command, arguments.repeats)
        rows.append(
            {
                "command": name,
                "min_ms": round(1000 * min(seconds), 1),
                "median_ms": round(1000 * statistics.median(seconds), 1),
                "min_cpu_ms": round(1000 * min(cpu), 1),
                "n": len(seconds),
                "load": round(os.getloadavg()[0], 1),
                "python": found["python"],
                "system": found["system"],
                "cores": found["cores"],
                "commit": found.get("commit", ""),
            }
        )
        row = rows[-1]
        print(
            f"{name:20} minimum {row['min_ms']:6.1f} ms, median {row['median_ms']:6.1f}, "
            f"minimum CPU {row['min_cpu_ms']:6.1f}"
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with open(arguments.out, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
