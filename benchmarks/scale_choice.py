"""How near the automatic choice of scale comes to the best one, on annotated images.

    python benchmarks/scale_choice.py MODEL DATA [DATA ...] [--json FILE]

Each DATA folder holds images/, instances/ and, where letters are burnt in,
valid/ with the same file names. Every image is segmented at the chosen scale and
at a ladder of diameters; the instance F1 at IoU 0.5 of both is compared. The
truth is used for scoring only. Runs in the training environment.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import launch  # noqa: E402

sys.path.pop(0)
launch.load_package()

from nanosynth.learn.images import read_labels, read_mask, read_micrograph  # noqa: E402
from nanosynth.learn.metrics import match_instances, pixel_scores  # noqa: E402
from nanosynth.learn.segmentation import SegmentationOptions, segment  # noqa: E402

RATIOS = np.sqrt(2.0) ** np.arange(-4, 5)


def examine(model, folder, oracle):
    """One row for each image of a folder."""
    rows = []
    for path in sorted((folder / "images").glob("*.png")):
        micrograph = read_micrograph(path, crop_bottom=0)
        truth = read_labels(folder / "instances" / path.name)
        mask = folder / "valid" / path.name
        valid = read_mask(mask) if mask.exists() else None
        begun = time.perf_counter()
        found = segment(model, micrograph, SegmentationOptions(scale="search"))
        seconds = time.perf_counter() - begun
        area = np.bincount(truth.ravel())[1:]
        area = area[area > 0]
        size = float(np.exp(np.average(np.log(np.sqrt(4 * area / np.pi)), weights=area)))
        row = {
            "set": folder.name,
            "image": path.name,
            "true_px": size,
            "zoom": found.scale.zoom,
            "size_in_network_px": size * found.scale.zoom,
            **scores(truth, found, valid),
            "seconds": seconds,
            "doubts": found.scale.doubts,
            "trials": [vars(t) for t in found.scale.trials],
        }
        if oracle:
            tried = {}
            for ratio in RATIOS:
                diameter = float(size * ratio)
                tried[f"{model.diameter_px[0] / diameter:.4f}"] = scores(truth, segment(model, micrograph, SegmentationOptions(diameter=diameter)), valid)
            row["ladder"] = tried
            row["best_f1"] = max(s["f1"] for s in tried.values())
            row["best_zoom"] = float(max(tried, key=lambda z: tried[z]["f1"]))
        rows.append(row)
        print(line(row), flush=True)
    return rows


def scores(truth, found, valid):
    matched = match_instances(truth, found.labels, valid)
    return {"f1": matched["f1"], "pixel_f1": pixel_scores(truth > 0, found.mask, valid)["f1"], **{k: int(matched[k]) for k in ("tp", "fp", "fn")}}


def line(row):
    best = f"  best {row['best_f1']:.3f} at {row['best_zoom']:.3f}" if "best_f1" in row else ""
    text = f"{row['set']:>14} {row['image'][:14]:<14} zoom {row['zoom']:.3f}  size {row['size_in_network_px']:5.1f}"
    return f"{text}  F1 {row['f1']:.3f} pixel {row['pixel_f1']:.3f}{best}  {row['seconds']:.1f} s  {'; '.join(row['doubts'])}"


def summary(rows):
    lines = []
    for name in dict.fromkeys(r["set"] for r in rows):
        own = [r for r in rows if r["set"] == name]
        tp, fp, fn = (sum(r[k] for r in own) for k in ("tp", "fp", "fn"))
        text = f"{name}: mean pixel F1 {np.mean([r['pixel_f1'] for r in own]):.3f}, pooled instance F1 {2 * tp / max(2 * tp + fp + fn, 1):.3f}"
        if "best_f1" in own[0]:
            near = sum(r["f1"] >= r["best_f1"] - 0.05 for r in own)
            text += f", mean F1 chosen {np.mean([r['f1'] for r in own]):.3f}, best {np.mean([r['best_f1'] for r in own]):.3f}, {near} of {len(own)} within 0.05"
        lines.append(text)
    return "\n".join(lines)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("model", type=Path)
    options.add_argument("data", type=Path, nargs="+")
    options.add_argument("--json", type=Path, help="write every row here")
    options.add_argument("--no-ladder", action="store_true", help="only the chosen scale")
    arguments = options.parse_args()
    from nanosynth.learn.model import load_model

    model = load_model(arguments.model)
    rows = [row for folder in arguments.data for row in examine(model, folder, not arguments.no_ladder)]
    print(summary(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
