"""The baseline: the same network trained on annotated micrographs, each scored by a network that has never seen it.

Mill et al. 2021 set a U-Net trained on rendered images (U-Net_sim there) beside
one trained on real images in a leave-one-out cross-validation (U-Net_real),
their Figure 4a. `cross_validate` makes that comparison.
"""

from __future__ import annotations

import csv
import io
import shutil
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import NanosynthError
from ..fields import to_dict
from ..files import Locked, locked, read_json, write_json, write_text
from ..reporting import Clock, Reporter
from .backend import load_keras
from .evaluation import COUNTS, LEVEL, PAPER_HEADS, SHOWN, evaluate_folders, files_by_name
from .images import list_images
from .metadata import given_scale
from .model import load_model
from .realpairs import Annotated, RealPairs
from .run import leaves
from .segmentation import SegmentationOptions, output_names, segment_files
from .settings import TrainingSettings
from .training import train

FORMAT = 1
REAL, SYNTH = "U-Net_real", "U-Net_synth"
LOCK = ".cross-validate.lock"
STAMP = "done.json"
"""Written into the folder of a part last: a fold, or what the given model finds."""
REPEATS = 1000


def cross_validate(
    images,
    truth,
    out,
    settings: TrainingSettings,
    *,
    valid=None,
    folds: int = 0,
    model=None,
    scale: str = "search",
    nm_per_px=None,
    command=None,
    reporter: Reporter | None = None,
) -> dict:
    """Train and score fold by fold, and set the result beside a given model's.

    The same call again goes on with an interrupted one: a finished fold is not
    made again, an unfinished one goes on after its last finished epoch. The same
    call in several processes at once shares the folds among them; the last to
    finish makes the comparison.

    Parameters
    ----------
    images : list of path-like
        Annotated micrographs and folders of them.
    truth : path-like
        Folder of their label images, by name.
    out : path-like
        Folder of everything: fold-01/ and so on with each fold's run and result;
        real/ and synth/ with the label images that were scored; scores.json,
        scores.csv, table.txt, figure.png, examples.png.
    settings : TrainingSettings
        Of every fold. The last epoch predicts, and only its weights are kept:
        choosing one by the held-out image would let the network see it.
    valid : path-like, optional
        Folder of masks; where they are 0 nothing is learnt or scored.
    folds : int
        0 leaves one image out at a time; K holds out every Kth image at a time.
    model : path-like, optional
        A run or model, such as one trained on rendered images, to be set beside.
    scale : "search" or "nm"
        How held-out images, and those for `model`, come to the network's scale.
    nm_per_px : float or metadata.ScaleFile, optional
        For `scale` "nm": of all images, or image by image. Otherwise what their files say.
    command : str, optional
        For the record.
    reporter : Reporter, optional

    Returns
    -------
    dict or None
        What scores.json holds; None while other processes are still at folds.

    Raises
    ------
    NanosynthError
        If an image has no annotation, there are fewer than two, two are the
        same picture, or `out` holds another cross-validation.
    """
    reporter, out = reporter or Reporter(), Path(out)
    settings = replace(settings, keep="best+every", keep_every=settings.epochs)  # the last epoch is all that is needed
    items = annotated(images, truth, valid, nm_per_px if scale == "nm" else None)
    plan = fold_plan(len(items), folds)
    judge = load_model(model) if model is not None else None
    identity = {
        "images": [item.identity() for item in items],
        "folds": [[items[i].name for i in held] for held in plan],
        "settings": to_dict(settings),
        "scale": scale,
        "model": judge.provenance if judge else None,
    }
    refuse_twins(identity["images"])
    options = SegmentationOptions(scale=scale)
    take_up(out / "cross-validation.json", identity, command)
    steps = settings.epochs * settings.iterations_per_epoch
    reporter.started(
        "cross-validate",
        text=f"Cross-validating on {len(items)} images: {len(plan)} folds of {settings.epochs} epochs, {steps * len(plan):,} steps in all",
        folds=len(plan),
        images=len(items),
    )
    parts = {
        out / f"fold-{number:02d}": (
            f"fold {number} of {len(plan)}",
            partial(one_fold, items, held, settings, options, gathered=out / "real", in_nm=scale == "nm", command=command),
        )
        for number, held in enumerate(plan, 1)
    }
    if judge:
        parts[out / "synth"] = SYNTH, partial(segment_beside, judge, items, options)
    try:
        if not all_made(parts, reporter):
            raise Locked(f"{out}: other processes are at the folds that are left.")
        with locked(out / LOCK, "writing the comparison into"):
            result = compare(items, truth, valid, out, settings, plan, judge)
            write_all(out, result, items)
    except Locked:
        reporter.done(out=str(out), text=f"Other processes are at what is left to do in {out}; the last of them makes the comparison.")
        return None
    for name, role in (
        ("scores.json", "scores"),
        ("scores.csv", "scores"),
        ("table.txt", "scores"),
        ("figure.png", "figure"),
        ("examples.png", "figure"),
    ):
        reporter.artifact(out / name, role)
    reporter.done(
        out=str(out),
        text=f"The comparison is in {out}: table.txt, figure.png, scores.csv.",
        **{"mean_f1": {n: s["mean"]["f1"] for n, s in result["methods"].items()}},
    )
    return result


class Part(Reporter):
    """Messages of one of several parts of a task, as messages of the whole."""

    def __init__(self, beyond: Reporter, clock: Clock, before: int, parts: int, label: str):
        self.beyond, self.clock, self.before, self.parts, self.label = beyond, clock, before, parts, label
        self.base, self.share = 0.0, 1.0

    def span(self, base: float, share: float) -> Part:
        """From here on progress runs from `base` to `base + share` of this part."""
        self.base, self.share = base, share
        return self

    def send(self, kind, **values):
        if kind == "progress":
            done = self.before + self.base + self.share * (values["done"] / values["total"] if values["total"] else 1.0)
            self.beyond.progress(done, self.parts, f"{self.label}: {values['text']}", self.clock.seconds_left(done))
        elif kind in ("warning", "error"):
            self.beyond.send(kind, **values | {"message": f"{self.label}: {values['message']}"})
        elif kind == "artifact":
            self.beyond.send(kind, **values)


# Folds


def annotated(images, truth, valid=None, nm_per_px=None) -> list[Annotated]:
    """The micrographs with the label image and the mask of their name."""
    paths = list_images(images)
    truths = files_by_name(truth)
    masks = files_by_name(valid) if valid else {}
    items = []
    for path, name in zip(paths, output_names(paths)):
        if name != path.stem:
            raise NanosynthError(f"{path}: another image has the name {path.stem}, too.", "Rename one of them and its label image.")
        if name not in truths:
            raise NanosynthError(f"{truth}: no label image for {path.name}.", "Annotate it, or leave it out.")
        items.append(Annotated(name, path, truths[name], masks.get(name), given_scale(nm_per_px, path)[0]))
    if len(items) < 2:
        raise NanosynthError("A cross-validation needs at least two annotated images.", "Name more images.")
    return items


def refuse_twins(identities):
    """Raise if a picture is there twice: one would be held out while its twin is trained on."""
    seen = {}
    for entry in identities:
        twin = seen.setdefault(entry["image"], entry["name"])
        if twin != entry["name"]:
            raise NanosynthError(
                f"{entry['name']} and {twin} are the same picture.", "Leave one of them out: a fold must not see its held-out image."
            )


def fold_plan(count: int, folds: int = 0) -> list[list[int]]:
    """The images held out in each fold: each image in exactly one."""
    if folds == 0:
        return [[i] for i in range(count)]
    if not 2 <= folds <= count:
        raise NanosynthError(f"{folds} folds of {count} images.", f"Choose 2 to {count}, or 0 to leave one image out at a time.")
    return [list(range(first, count, folds)) for first in range(folds)]


def take_up(path, identity, command):
    """Begin a cross-validation, or go on with one that was asked for in the same words."""
    if path.is_file():
        there, here = leaves(read_json(path)["identity"]), leaves(identity)
        for key in {**there, **here}:
            if there.get(key) != here.get(key):
                raise NanosynthError(
                    f"{path.parent}: holds another cross-validation ({key} differs).",
                    "Choose another folder, or repeat the command that began it.",
                )
        return
    write_json(path, {"format": FORMAT, "nanosynth": __version__, "command": command, "identity": identity})


def all_made(parts, reporter) -> bool:
    """Make, one after the other, the parts that are not made and that no other process is making.

    Parameters
    ----------
    parts : dict
        By folder a label, and a function of the folder and a reporter that makes it.
    reporter : Reporter

    Returns
    -------
    bool
        Whether all are made now; if not, other processes are at the rest.
    """

    def made():
        return sum((folder / STAMP).is_file() for folder in parts)

    clock = Clock(len(parts), made())  # what is there already says nothing of the pace
    busy = True
    while busy:  # again, as long as there was something to do: another process may have given a part up meanwhile
        busy = False
        for folder, (label, make) in parts.items():
            with ExitStack() as stack:
                try:
                    stack.enter_context(locked(folder / LOCK, "working in"))
                except Locked:
                    continue
                if (folder / STAMP).is_file():
                    continue
                part = Part(reporter, clock, made(), len(parts), label)
                make(folder, part)
                part.span(0.0, 1.0).progress(1, 1, "finished")
                busy = True
    return made() == len(parts)


def one_fold(items, held, settings, options, folder, part, *, gathered, in_nm, command):
    """Train on all but the held-out images and segment these."""
    shown = [items[i] for i in held]
    pairs = RealPairs([item for i, item in enumerate(items) if i not in held], in_nm=in_nm)
    run = train(pairs, settings, folder / "run", command=command, reporter=part.span(0.0, 0.95))
    network = load_model(run.path)
    files = segment_all(network, shown, options, folder / "result", part.span(0.95, 0.05))
    for role, path in files:
        target = gathered / role / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    load_keras().utils.clear_session()  # of one fold nothing stays in memory for the next
    write_json(
        folder / STAMP,
        {"trained_on": [item.name for item in pairs.items], "held_out": [item.name for item in shown], "epoch": run.serving_epoch()},
    )


def segment_beside(judge, items, options, folder, part):
    """Segment all images with the given model."""
    segment_all(judge, items, options, folder, part)
    write_json(folder / STAMP, {"images": [item.name for item in items]})


def segment_all(network, items, options, folder, part) -> list[tuple[str, Path]]:
    """Segment; returns (role, file) of the label and probability images. Stated scales may differ from image to image."""
    files = []
    for nm_per_px in dict.fromkeys(item.nm_per_px for item in items):
        same = [item.image for item in items if item.nm_per_px == nm_per_px]
        segment_files(network, same, folder, replace(options, nm_per_px=nm_per_px or 0.0), part)
    for entry in read_json(folder / "segmentation.json")["images"]:
        files += [(role, folder / entry["files"][role]) for role in ("instances", "probability")]
    return files


# The comparison


def compare(items, truth, valid, out, settings, plan, judge) -> dict:
    """Scores of both networks on the same images, and their differences image by image."""
    names = {item.name for item in items}
    exclude = [name for name in files_by_name(truth) if name not in names]
    methods = {}
    for name, folder in ((REAL, out / "real"), (SYNTH, out / "synth")):
        if name == REAL or judge:
            methods[name] = evaluate_folders(
                truth, folder / "instances", valid, exclude, probability=folder / "probability", repeats=REPEATS
            )
    notes = [
        f"{REAL}: {len(plan)} networks, each trained on {len(items) - max(map(len, plan))} of the {len(items)} annotated images for {settings.epochs} epochs "
        f"of {settings.iterations_per_epoch} steps and scored on those it has not seen; the last epoch predicts.",
        f"Means over only {len(items)} images; their 95 % intervals, by bootstrap over images, are in brackets.",
    ]
    if judge:
        seen = sorted(names & set(judge.provenance.get("validation") or {}))
        notes.append(f"{SYNTH}: {judge.provenance.get('command') or 'a model whose command was not recorded'}.")
        if seen:
            notes.append(f"{', '.join(seen)}: looked at, with annotation, while {SYNTH} was trained (choice of its epoch).")
    return {"methods": methods, "difference": differences(methods) if judge else None, "folds": len(plan), "notes": notes}


def differences(methods) -> dict:
    """Mean over images of U-Net_synth's score less U-Net_real's, with its interval, for each score that both have on all images."""
    rng = np.random.default_rng(0)
    real, synth = methods[REAL]["images"], methods[SYNTH]["images"]
    picks = rng.integers(0, len(real), (REPEATS, len(real)))
    found = {}
    for key in (*SHOWN, "n_predicted"):
        pairs = [(synth[name][key], real[name][key]) for name in real]
        if all(None not in pair for pair in pairs):
            gaps = np.array([a - b for a, b in pairs], dtype=np.float64)
            low, high = np.percentile(gaps[picks].mean(axis=1), [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
            found[key] = {"value": float(gaps.mean()), "low": float(low), "high": float(high)}
    return found


def rows(result):
    """Yields (name, {score: value}, {score: (low, high)}) of each network's means, and of their difference."""
    for name, scores in result["methods"].items():
        images = scores["images"].values()
        counts = {key: sum(image[key] for image in images) / len(scores["images"]) for key in ("n_predicted", "n_truth")}
        yield name, scores["mean"] | counts, {key: ends for key, ends in scores["intervals"]["mean"].items() if ends}
    if result["difference"]:
        gaps = result["difference"]
        yield (
            "synth - real",
            {key: gap["value"] for key, gap in gaps.items()},
            {key: (gap["low"], gap["high"]) for key, gap in gaps.items()},
        )


def _cell(key, value):
    if value is None:
        return "-"
    if key == "warping_error":
        return f"{value * 1e6:.0f}"
    return f"{value:.2f}" if key.startswith("n_") else f"{value:.3f}"


def cells(result) -> list[list[tuple[str, str]]]:
    """The table as (value, interval) of each of `PAPER_HEADS`, row by row."""
    return [
        [
            (_cell(key, values.get(key)), f"[{_cell(key, ends[key][0])}, {_cell(key, ends[key][1])}]" if key in ends else "")
            for key in PAPER_HEADS
        ]
        for _, values, ends in rows(result)
    ]


def table_text(result) -> str:
    """Figure 4a for people: a row for each network, its interval below."""
    lines = [("mean over images", *PAPER_HEADS.values())]
    for (name, *_), row in zip(rows(result), cells(result)):
        lines += [(name, *(value for value, _ in row)), ("", *(ends for _, ends in row))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip() for line in lines]
    rule = "-" * max(map(len, text))
    return "\n".join([text[0], rule, *text[1:], rule, *result["notes"]]) + "\n"


def csv_text(result) -> str:
    """A row for each network and image, then the means with the ends of their intervals."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["network", "image", *SHOWN, *COUNTS])
    for method, scores in result["methods"].items():
        for name, row in scores["images"].items():
            writer.writerow([method, name, *(_plain(row[key]) for key in SHOWN), *(row[key] for key in COUNTS)])
    for name, values, ends in rows(result):
        writer.writerow([name, "mean", *(_plain(values.get(key)) for key in SHOWN), *("" for _ in COUNTS)])
        for i, end in enumerate(("lower", "upper")):
            writer.writerow(
                [
                    name,
                    f"mean, {end} end of {LEVEL:.0%}",
                    *(_plain(ends[key][i] if key in ends else None) for key in SHOWN),
                    *("" for _ in COUNTS),
                ]
            )
    return stream.getvalue()


def _plain(value):
    return "" if value is None else f"{value:.6f}"


def write_all(out, result, items):
    from .comparisonfigure import draw_comparison, draw_examples

    write_json(out / "scores.json", result)
    write_text(out / "scores.csv", csv_text(result))
    write_text(out / "table.txt", table_text(result))
    draw_comparison(out / "figure.png", result, cells(result), [name for name, *_ in rows(result)])
    folders = {REAL: out / "real"} | ({SYNTH: out / "synth"} if SYNTH in result["methods"] else {})
    draw_examples(out / "examples.png", items, folders, result)
