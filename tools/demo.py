#!/usr/bin/env python3
"""The whole way once, small: render, train, segment real micrographs, report.

    python3 tools/demo.py

Calls the verbs of `./nanosynth` as a user would, prints each command, and
leaves everything in `demo/`. A second call skips what is finished and goes on
with what is not. Standard library only.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
SILICA = ROOT / "examples" / "silica"
WORKERS = 2
SCENES = 24
EPOCHS = 16
STEPS = 25
NEEDED_F1 = 0.8


class Demo:
    """Runs commands one after the other; those that a former call has finished are skipped.

    A finished step leaves a stamp: the hash of its command and of all before it.
    """

    def __init__(self):
        self.stamps = DEMO / "stamps"
        self.stamps.mkdir(parents=True, exist_ok=True)
        self.start = time.monotonic()
        self.history = hashlib.sha256()

    def say(self, text):
        seconds = round(time.monotonic() - self.start)
        print(f"[{seconds // 60:2d}:{seconds % 60:02d}] {text}", flush=True)

    def verb(self, step, what, *arguments):
        """Run one verb, unless a former call has finished it."""
        arguments = [str(part.relative_to(ROOT)) if isinstance(part, Path) else str(part) for part in arguments]
        self.history.update("\0".join(arguments).encode())
        stamp = self.stamps / step
        if stamp.exists() and stamp.read_text() == self.history.hexdigest():
            self.say(f"{what}: done before.")
            return
        self.say(f"{what}:")
        print("        $ ./nanosynth " + shlex.join(arguments), flush=True)
        process = subprocess.Popen([sys.executable, str(ROOT / "nanosynth"), *arguments], cwd=ROOT)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            self.stop(process)
            raise
        if code:
            sys.exit(code)
        stamp.write_text(self.history.hexdigest())

    @staticmethod
    def stop(process):
        """Let a verb end in its own way: the terminal's Ctrl-C has reached it, too."""
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()


def micrographs():
    """The PNGs by nm per pixel, which their files do not state."""
    groups = {}
    with open(SILICA / "spheres" / "scale.csv", newline="") as file:
        for row in csv.DictReader(file):
            groups.setdefault((row["magnification"], row["nm_per_px"]), []).append(SILICA / "spheres" / row["name"])
    return sorted(groups.items(), key=lambda group: int(group[0][0]))


def main():
    demo = Demo()
    data, run, scores, report = DEMO / "dataset", DEMO / "run", DEMO / "scores.json", DEMO / "report.html"
    demo.verb(
        "generate", f"Rendering {SCENES} synthetic micrographs with their labels",
        "generate", "--recipe", ROOT / "presets" / "sio2.toml", "--count", SCENES, "--workers", WORKERS, "--out", data,
    )  # fmt: skip
    demo.verb(
        "train", f"Training a U-Net on them alone, {EPOCHS} epochs",
        "train", data, "--preset", "compact", "--epochs", EPOCHS, "--iterations-per-epoch", STEPS,
        "--validation", SILICA / "spheres" / "A01-2.png", "--validation-diameter", 118, "--out", run,
    )  # fmt: skip
    demo.verb("select", "Selecting the last epoch", "select", run, "--epoch", EPOCHS)
    results = []
    for (magnification, nm_per_px), images in micrographs():
        results.append(DEMO / "segmentation" / f"x{magnification}")
        demo.verb(
            f"segment-{magnification}", f"Segmenting the micrographs taken at {int(magnification):,} x",
            "segment", run, *images, "--nm-per-px", nm_per_px, "--scale", "search", "--out", results[-1],
        )  # fmt: skip
    annotated = DEMO / "segmentation" / "x20000" / "instances"
    demo.verb(
        "evaluate", "Comparing A01-1 with its annotation",
        "evaluate", SILICA / "annotation", annotated, "--valid", SILICA / "annotation" / "valid", "--out", scores,
    )  # fmt: skip
    demo.verb(
        "report", "Writing the report",
        "report", "--dataset", data, "--run", run, "--segmentation", *results, "--scores", scores, "--title", TITLE, "--lead", LEAD, "--out", report,
    )  # fmt: skip
    f1 = json.loads(scores.read_text())["overall"]["instance_f1"]
    demo.say(f"Instance F1 on the annotated micrograph A01-1: {f1:.3f} (at least {NEEDED_F1} is required).")
    demo.say(f"The report lies in {report}")
    return 0 if f1 >= NEEDED_F1 else 1


TITLE = "Silica spheres, segmented by a network that has seen rendered images only"
LEAD = (
    "Blender rendered SiO2 micrographs together with their labels, a U-Net was trained on them for a few minutes on the processor, "
    "and it then segmented real scanning electron micrographs."
)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on from here.", file=sys.stderr)
        sys.exit(130)
