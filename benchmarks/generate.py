"""Time, memory and orderly ends of data set generation.

    python benchmarks/generate.py [--count 6] [--workers 2] [--recipe sio2] [--pairs 180]

in an environment with bpy. Prints the seconds per pair, by the clock and of
processor time (which other load disturbs less), what `--pairs` pairs would
take, the workers' peak memory, and how long workers live after their parent
was killed in the middle of a render. Not for Windows.
"""

import argparse
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import launch  # noqa: E402

sys.path.pop(0)
launch.load_package()

from nanosynth.jobs.generate import generate  # noqa: E402
from nanosynth.reporting import Reporter  # noqa: E402


class Stopwatch(Reporter):
    """Keeps when each pair came and how much memory its worker had held by then."""

    def __init__(self):
        self.start, self.times, self.memory = time.monotonic(), [], []

    def send(self, kind, **values):
        if kind == "artifact":
            self.times.append(time.monotonic() - self.start)
            self.memory.append(values["memory_mb"] or 0.0)


def survivors(word):
    """How many processes have `word` in their command line."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            count += word.encode() in (folder / "cmdline").read_bytes()
        except OSError:
            pass
    return count


def time_to_end(recipe, workers, out, number):
    """Seconds that a parent and its workers live after a signal in the middle of their work."""
    command = [sys.executable, str(ROOT / "launch.py"), "generate", "--json", "--recipe", recipe]
    parent = subprocess.Popen([*command, "--workers", str(workers), "--out", str(out)], stdout=subprocess.PIPE)
    while b"artifact" not in parent.stdout.readline():
        pass
    time.sleep(1.5)
    start = time.monotonic()
    parent.send_signal(number)
    parent.wait()
    while survivors(str(out)):
        time.sleep(0.01)
    return time.monotonic() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="sio2")
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=180)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nanosynth-benchmark-") as folder:
        watch = Stopwatch()
        generate(arguments.recipe, Path(folder) / "d", count=arguments.count, workers=arguments.workers, reporter=watch)
        total = watch.times[-1]
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = (used.ru_utime + used.ru_stime) / arguments.count
        print(f"{arguments.count} pairs, {arguments.workers} workers: {total:.1f} s")
        print(f"a pair, start-up included: {total / arguments.count:.2f} s by the clock, {processor:.2f} s of processor time")
        print(f"{arguments.pairs} pairs: {total / arguments.count * arguments.pairs / 60:.1f} min")
        print(f"peak memory of a worker: {max(watch.memory):.0f} MB")
        if sys.platform.startswith("linux"):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                seconds = time_to_end(arguments.recipe, arguments.workers, Path(folder) / number.name, number)
                print(f"all ended {seconds:.2f} s after {number.name}")


if __name__ == "__main__":
    main()
