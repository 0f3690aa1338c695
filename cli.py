"""The verbs on the command line, the same in a shell, in `blender --command` and in Python.

Each verb is a function that imports what it needs when it runs, so that a verb
without Blender never loads bpy and one without training never loads TensorFlow.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

from . import __version__
from .doctor import NEEDS, NESTED, foreign_environment, importable, learn_python
from .errors import NanosynthError, explained
from .reporting import ConsoleReporter, JsonReporter

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
RESUMED = ("generate", "train", "segment", "cross-validate")
"""Verbs that, called again, keep what was finished."""
HIDDEN = {"worker": "bpy", "previewer": "bpy", "painter": "", "environment": ""}
"""Verbs by which Nanosynth calls itself, not for people, and what they need."""
PACKAGES = ("numpy", "scipy", "skimage", "imageio", "tifffile", "PIL", "tomli_w", "matplotlib", "sklearn", "keras", "tensorflow")


def generate(arguments, reporter):
    from .jobs.generate import generate
    from .synth.recipe import Recipe, read_recipe

    recipe = changed(read_recipe(arguments.recipe), given(arguments, Recipe))
    if arguments.scene is not None:
        if arguments.save_blend is None:
            raise NanosynthError("--scene keeps one scene for inspection.", "Add --save-blend FILE.blend.")
        if arguments.scene < 0:
            raise NanosynthError(f"--scene {arguments.scene} is below 0.", "Scenes are counted from 0.")
        if arguments.save_blend.suffix != ".blend":
            raise NanosynthError(f"--save-blend {arguments.save_blend}: not the name of a .blend file.", "Let it end in .blend.")
        from .jobs.child import private_stdout
        from .synth.render import make_pair

        messages = private_stdout()  # Blender prints
        if arguments.json:
            reporter.stream = messages
        else:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        make_pair(recipe, arguments.scene, device=arguments.device, save_blend=arguments.save_blend)
        reporter.artifact(arguments.save_blend, "scene")
        reporter.done(text=f"Scene {arguments.scene} is kept in {arguments.save_blend}.")
    elif arguments.out is None:
        raise NanosynthError("generate needs a folder for the data set.", "Add --out DATASET.")
    else:
        generate(recipe, arguments.out, workers=arguments.workers, device=arguments.device, reporter=reporter)


def train(arguments, reporter):
    from .learn.run import Run
    from .learn.settings import TrainingSettings, read_settings
    from .learn.training import train

    if arguments.preset is None and (arguments.out / "run.json").exists():
        settings = Run.open(arguments.out).settings
    else:
        settings = read_settings(arguments.preset or "compact")
    train(
        arguments.dataset,
        changed(settings, given(arguments, TrainingSettings)),
        arguments.out,
        validation=arguments.validation,
        truth=arguments.truth,
        validation_diameter=arguments.validation_diameter,
        validation_scale_file=arguments.validation_scale_file,
        command=arguments.command_line,
        reporter=reporter,
    )


def select(arguments, reporter):
    from .learn.model import export
    from .learn.run import Run

    run = Run.open(arguments.run_folder)
    chosen = run.select(epoch=arguments.epoch, best=arguments.best)
    if arguments.export:
        reporter.artifact(export(run, arguments.export), "model")
    reporter.done(**chosen)
    if not arguments.json:
        print(f"Selected epoch {chosen['epoch']}" + (f"; its model is in {arguments.export}." if arguments.export else "."))


def segment(arguments, reporter):
    from .fields import from_dict
    from .learn.model import load_model
    from .learn.segmentation import SegmentationOptions, segment_files

    options = from_dict(SegmentationOptions, given(arguments, SegmentationOptions))
    segment_files(load_model(arguments.model), arguments.images, arguments.out, options, reporter)


def evaluate(arguments, reporter):
    from .learn.evaluation import evaluate_folders, report, write_scores

    scores = evaluate_folders(
        arguments.truth,
        arguments.predicted,
        valid=arguments.valid,
        exclude=arguments.exclude,
        probability=arguments.probability,
        nm_per_px=stated_scale(arguments),
        repeats=arguments.repeats,
    )
    for path in arguments.out:
        write_scores(path, scores)
        reporter.artifact(path, "scores")
    reporter.done(**scores)
    if not arguments.json:
        print(report(scores))


def analyse(arguments, reporter):
    from .learn.distributions import analyse, report

    record = analyse(
        arguments.result,
        arguments.out,
        weight=arguments.weight,
        size=arguments.size,
        border_correction=arguments.border_correction,
        repeats=arguments.repeats,
        seed=arguments.seed,
        reporter=reporter,
    )
    if not arguments.json:
        print(report(record))


def compare(arguments, reporter):
    from .fields import from_dict
    from .learn.compare import CompareOptions, compare, report

    record = compare(
        arguments.real,
        arguments.synthetic,
        arguments.out,
        from_dict(CompareOptions, given(arguments, CompareOptions)),
        baseline=arguments.baseline,
        valid=arguments.valid,
        nm_per_px=stated_scale(arguments),
        vgg16_weights=arguments.vgg16_weights,
        download_vgg16=arguments.download_vgg16,
        reporter=reporter,
    )
    if not arguments.json:
        print(report(record))


def cross_validate(arguments, reporter):
    from .learn.crossvalidation import cross_validate, table_text
    from .learn.settings import TrainingSettings, read_settings

    result = cross_validate(
        arguments.images,
        arguments.truth,
        arguments.out,
        changed(read_settings(arguments.preset), given(arguments, TrainingSettings)),
        valid=arguments.valid,
        folds=arguments.folds,
        model=arguments.model,
        scale=arguments.scale,
        nm_per_px=stated_scale(arguments),
        command=arguments.command_line,
        reporter=reporter,
    )
    if result and not arguments.json:
        print(table_text(result), end="")


def stated_scale(arguments):
    """What --nm-per-px or --scale-file says."""
    from .learn.metadata import ScaleFile

    if arguments.scale_file and arguments.nm_per_px is not None:
        raise NanosynthError("--nm-per-px and --scale-file both state the scale.", "Give one of them.")
    return ScaleFile(arguments.scale_file) if arguments.scale_file else arguments.nm_per_px


def add_scale(add, doc):
    """The two flags by which the scale is stated."""
    add("--nm-per-px", type=float, metavar="X", help=doc)
    add("--scale-file", type=Path, metavar="FILE", help="CSV file with the columns image and nm_per_px: the same, image by image")


def match(arguments, reporter):
    from .fields import from_dict
    from .jobs.child import private_stdout
    from .learn.match import MatchOptions, match

    messages = private_stdout()  # Blender prints
    if arguments.json:
        reporter.stream = messages
    else:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    match(arguments.recipe, arguments.references, arguments.out, from_dict(MatchOptions, given(arguments, MatchOptions)), reporter=reporter)


def worker(arguments, reporter):
    """The verb `generate` starts its workers with; not for people."""
    from .jobs.child import private_stdout, tether

    reporter.stream = private_stdout()
    orders = tether()  # before bpy, which takes seconds to load
    import bpy

    from .synth.render import make_pair
    from .synth.worker import run_worker

    run_worker(arguments.out, orders, reporter, make_pair, blender=bpy.app.version_string, device=arguments.device)


def previewer(arguments, reporter):
    """The verb that the window starts its preview with; not for people."""
    from .jobs.child import private_stdout, tether

    reporter.stream = private_stdout()
    orders = tether()
    from .synth.previewer import run_previewer

    run_previewer(arguments.out, orders, reporter)


def painter(arguments, reporter):
    """The verb that the window has its pictures made by; not for people."""
    from .jobs.child import private_stdout, tether

    reporter.stream = private_stdout()
    orders = tether()
    from .learn.painting import run_painter

    run_painter(arguments.out, orders, reporter)


def environment(arguments, reporter):
    """The verb that the window makes the training environment with; not for people."""
    from .jobs.environment import make

    make(arguments.out, reporter)


def report(arguments, reporter):
    from .files import read_json
    from .learn.report import write_report

    write_report(
        arguments.out,
        dataset=arguments.dataset,
        run=arguments.run_folder,
        segmentation=[*arguments.results, *arguments.segmentation],
        evaluation=read_json(arguments.scores) if arguments.scores else None,
        title=arguments.title,
        lead=arguments.lead,
        size=arguments.size,
        border_correction=arguments.border_correction,
        repeats=arguments.repeats,
        seed=arguments.seed,
        reporter=reporter,
    )


def scale(arguments, reporter):
    from .learn.scalereport import examine_scales, table

    entries = examine_scales(arguments.images, bar_nm=arguments.bar_nm, out=arguments.out, reporter=reporter)
    reporter.done(images=entries)
    if not arguments.json:
        print(table(entries))


def export(arguments, reporter):
    from .learn.exchange import export

    export(arguments.source, arguments.format, arguments.out, reporter, nm_per_px=stated_scale(arguments))


def doctor(arguments, reporter):
    from .doctor import examine, report

    findings = examine()
    if arguments.json:
        reporter.done(**findings)
    else:
        print(report(findings))
    return 0 if findings["ok"] else 1


def changed(settings, values: dict):
    """A settings tree with some values replaced and checked again.

    Parameters
    ----------
    settings : settings tree
    values : dict
        Nested like the tree. None leaves a value as it is.
    """
    from .fields import from_dict, to_dict

    def merge(below, above):
        for name, value in above.items():
            if isinstance(value, dict):
                merge(below[name], value)
            elif value is not None:
                below[name] = value
        return below

    return from_dict(type(settings), merge(to_dict(settings), values))


def add_flags(parser, kind, source: str = ""):
    """Give a parser a flag for every field of a settings tree. Values are checked when the tree is built.

    The members of lists, such as a recipe's templates, get none: they are edited in the file.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    kind : dataclass type
    source : str
        Where the value of a flag that is not given comes from, such as "the recipe"; empty: the default shown with each.
    """
    from .fields import Range, walk

    group = parser.add_argument_group("settings", f"What is not given comes from {source}." if source else None)
    for name, hint, spec, default in walk(kind):
        if "[]" in name:
            continue
        options = {"dest": name, "default": None, "help": described(spec, None if source else default).replace("%", "%%")}
        if hint is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif hint == Range:
            options.update(type=float, nargs=2, metavar=("LOW", "HIGH"))
        elif spec.choices:
            options["choices"] = spec.choices
        else:
            options.update(type=hint, metavar={int: "N", float: "X", str: "TEXT"}[hint])
        group.add_argument("--" + name.replace("_", "-"), **options)


def described(spec, default=None) -> str:
    """The help text of a flag: meaning, unit, bounds, default."""
    ends = ["" if end is None else f"{end:g}" for end in (spec.low, spec.high)]
    bounds = f"{ends[0]} to {ends[1]}" if all(ends) else f"at least {ends[0]}" if ends[0] else f"at most {ends[1]}" if ends[1] else ""
    parts = [" ".join(part for part in (bounds, spec.unit) if part)]
    if default not in (None, ""):
        shown = {True: "yes", False: "no"}[default] if isinstance(default, bool) else f"{default:g}" if isinstance(default, (int, float)) else default
        parts.append(f"default: {shown}")
    notes = "; ".join(part for part in parts if part)
    return spec.doc + (f" ({notes})" if notes else "")


def given(arguments, kind) -> dict:
    """The values of a settings tree that were given as flags, nested like the tree."""
    from .fields import walk

    tree = {}
    for name, *_ in walk(kind):
        value = getattr(arguments, name, None)
        if value is not None:
            *sections, leaf = name.split(".")
            place = tree
            for section in sections:
                place = place.setdefault(section, {})
            place[leaf] = value
    return tree


def nearest(verb, listed) -> str:
    near = difflib.get_close_matches(verb, listed, 1)
    return (f"Did you mean {near[0]}? " if near else "") + f"The verbs are {', '.join(listed)}."


def elsewhere(verb, needed, argv) -> int:
    """Run a verb that needs what this Python lacks in the Python that has it."""
    if needed == "bpy":
        raise NanosynthError(
            f"{verb} needs Blender, and this Python has no bpy.",
            f"Run './nanosynth {verb} …' in a checkout or 'blender --command nanosynth {verb} …'.",
        )
    if os.environ.get(NESTED):
        raise NanosynthError(
            f"{verb} needs the package {needed}, which the training environment lacks: {sys.executable}.",
            "Name another Python in the extension's preferences or in the environment variable NANOSYNTH_LEARN_PYTHON.",
        )
    python = learn_python()
    if python is None:
        raise NanosynthError(
            f"{verb} needs Keras and TensorFlow, which this Python lacks, and no training environment is set.",
            "Name its Python in the extension's preferences or in the environment variable NANOSYNTH_LEARN_PYTHON.",
        )
    command = [str(python), str(Path(__file__).with_name("launch.py")), *argv, "--tethered"]
    with explained(python):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, env=foreign_environment())
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:  # the terminal sends it to the child too; let it end in its own way
            continue
        if code == -signal.SIGINT:  # before it could tell in its own way
            raise KeyboardInterrupt
        if code < 0:
            from .jobs.process import signal_name

            raise NanosynthError(f"The process of {verb} was ended by {signal_name(-code)}.", "Run the same command again; what it had finished is kept.")
        return code


def parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The whole command line.

    Numbers are checked where they are used, so that every way in has the same checks.

    Parameters
    ----------
    chosen : str, optional
        The verb that will run. Only it gets the flags that are derived from its
        settings, because they take numerical packages to load.
    """
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="write messages as one JSON object a line on stdout, for programs")
    common.add_argument("--tethered", action="store_true", help=argparse.SUPPRESS)  # end when stdin closes
    common.add_argument("--detached", type=Path, help=argparse.SUPPRESS)  # folder for messages, heartbeat and cancel
    main = argparse.ArgumentParser(
        prog="nanosynth",
        description="Segment nanoparticles in micrographs with a network trained on rendered images.",
        epilog="'nanosynth VERB --help' shows a verb's settings and examples.",
    )
    main.add_argument("--version", action="version", version=f"nanosynth {__version__}")
    main.listed = []
    verbs = main.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name, run, summary, examples):
        sub = verbs.add_parser(
            name,
            parents=[common],
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  nanosynth {line}" for line in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        main.listed.append(name)
        return sub

    add = verb(
        "generate",
        generate,
        "render a data set of synthetic micrographs with their labels",
        [
            "generate --recipe presets/sio2.toml --count 180 --seed 1 --workers 2 --out DATASET",
            "generate --recipe sio2 --arrangement.coverage 0.1 0.3 --dirt.probability 0 --out DATASET",
            "generate --recipe DATASET/recipe.toml --scene 7 --save-blend scene7.blend",
        ],
    ).add_argument
    add("--recipe", required=True, metavar="FILE", help="recipe file, or the name of a preset such as sio2")
    add("--workers", type=int, default=1, metavar="N", help="Blender processes that work side by side (default: 1)")
    add("--device", default="CPU", metavar="NAME", help="device of the photo render: CPU, CUDA, OPTIX, HIP, METAL or ONEAPI (default: CPU)")
    add("--out", type=Path, metavar="DATASET", help="folder of the data set; an unfinished one of the same recipe is continued")
    add("--scene", type=int, metavar="I", help="build only scene I and keep it for inspection")
    add("--save-blend", type=Path, metavar="FILE", help="where --scene keeps its scene")
    if chosen == "generate":
        from .synth.recipe import Recipe

        add_flags(add.__self__, Recipe, "the recipe")

    add = verb(
        "train",
        train,
        "train a network on a synthetic data set; the same command again goes on with an interrupted run",
        [
            "train DATASET --preset compact --out RUN",
            "train DATASET --preset compact --validation real.tif --truth real_labels.png --out RUN",
            "train BROAD MATCHED --out RUN",
        ],
    ).add_argument
    add("dataset", type=Path, nargs="+", metavar="DATASET", help="folder made by generate; of several all pairs are used")
    add("--out", type=Path, required=True, metavar="RUN", help="folder of the run; an interrupted run in it is continued")
    add("--preset", metavar="NAME", help="'paper' (31 million weights, for a GPU), 'compact' (default), or a TOML file of your own")
    add("--validation", type=Path, nargs="+", default=[], metavar="IMAGE", help="real images that are predicted after each epoch")
    add("--truth", type=Path, nargs="+", default=[], metavar="LABELS", help="label image of each validation image, in the same order")
    add("--validation-diameter", type=float, metavar="PX", help="typical particle diameter in the validation images, in px")
    add("--validation-scale-file", type=Path, metavar="FILE", help="CSV file with the columns image and nm_per_px, for the validation images")
    if chosen == "train":
        from .learn.settings import TrainingSettings

        add_flags(add.__self__, TrainingSettings, "the preset")

    add = verb(
        "select",
        select,
        "choose the epoch of a run that segments",
        ["select RUN --best f1", "select RUN --epoch 37 --export MODEL"],
    ).add_argument
    add("run_folder", type=Path, metavar="RUN", help="folder made by train")
    group = add.__self__.add_mutually_exclusive_group(required=True)
    group.add_argument("--epoch", type=int, metavar="N", help="the epoch whose predictions look best to you")
    group.add_argument("--best", choices=["f1", "instance_f1"], help="the epoch with the best mean F1 on the annotated validation images")
    add("--export", type=Path, metavar="MODEL", help="also write the chosen epoch as a model, to be copied and shared")

    add = verb(
        "segment",
        segment,
        "segment real micrographs with a trained network",
        [
            "segment sio2 image.tif --out RESULT",
            "segment RUN folder_of_images --nm-per-px 1.5 --crop-bottom 120 --out RESULT",
            "segment sio2 image.png --diameter 40 --out RESULT",
        ],
    ).add_argument
    add("model", type=Path, metavar="RUN_OR_MODEL", help="folder of a run or of a model, or the name of a shipped model such as sio2")
    add("images", type=Path, nargs="+", metavar="IMAGES", help="TIFF, PNG, JPEG or BMP files, or folders of them")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    if chosen == "segment":
        from .learn.segmentation import SegmentationOptions

        add_flags(add.__self__, SegmentationOptions)

    add = verb(
        "evaluate",
        evaluate,
        "compare label images with true ones",
        [
            "evaluate TRUTH_DIR RESULT/instances",
            "evaluate TRUTH_DIR RESULT --probability RESULT/probability --valid VALID_DIR --out scores.csv scores.json",
        ],
    ).add_argument
    add("truth", type=Path, metavar="TRUTH_DIR", help="folder of true label images")
    add("predicted", type=Path, metavar="PREDICTED_DIR", help="folder of label images with the same names")
    add("--valid", type=Path, metavar="DIR", help="folder of masks of the same names; only their non-zero pixels count")
    add("--exclude", nargs="+", default=[], metavar="NAME", help="images that are left out, by name without suffix")
    add("--probability", type=Path, metavar="DIR", help="folder of probability images of the same names, for COCO's AP and the warping error")
    add_scale(add, "scale for the distance of the size distributions (default: what the label files say)")
    add("--repeats", type=int, default=1000, metavar="N", help="resamplings of the images for the confidence intervals (default: 1000)")
    add("--out", type=Path, nargs="+", default=[], metavar="FILE", help="write the scores to .json, .csv or text files too")

    add = verb(
        "cross-validate",
        cross_validate,
        "train the same network on annotated real images, each scored by one that has not seen it, beside a model's scores",
        [
            "cross-validate IMAGES TRUTH_DIR --valid VALID_DIR --model sio2 --out BASELINE",
            "cross-validate IMAGES TRUTH_DIR --folds 3 --preset compact --epochs 10 --out BASELINE",
        ],
    ).add_argument
    add("images", type=Path, nargs="+", metavar="IMAGES", help="annotated micrographs and folders of them")
    add("truth", type=Path, metavar="TRUTH_DIR", help="folder of label images of the same names")
    add("--valid", type=Path, metavar="DIR", help="folder of masks of the same names; where they are 0 nothing is learnt or scored")
    add("--model", type=Path, metavar="RUN_OR_MODEL", help="a model trained on rendered images, to be set beside")
    add("--folds", type=int, default=0, metavar="K", help="0 leaves one image out at a time (default); K holds out every Kth at a time")
    add("--preset", default="compact", metavar="NAME", help="'paper', 'compact' (default), or a TOML file of your own")
    add("--scale", choices=["search", "nm"], default="search", help="how held-out images come to the trained scale (default: search)")
    add_scale(add, "with --scale nm: width of an image pixel (default: what the files say)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of runs, results and scores; an interrupted one is continued")
    if chosen == "cross-validate":
        from .learn.settings import TrainingSettings

        add_flags(add.__self__, TrainingSettings, "the preset")

    add = verb(
        "scale",
        scale,
        "tell the scale that images state, and find and measure their scale bars",
        ["scale image.tif", "scale folder_of_images --bar-nm 100 --out MARKED"],
    ).add_argument
    add("images", type=Path, nargs="+", metavar="IMAGES", help="TIFF, PNG, JPEG or BMP files, or folders of them")
    add("--bar-nm", type=float, metavar="X", help="what the scale bar stands for, in nm, as is printed beside it")
    add("--out", type=Path, metavar="DIR", help="folder for a picture of each image in which the bar found is marked, to be confirmed")

    add = verb(
        "export",
        export,
        "write results or a data set in the formats of other programs",
        ["export RESULT --format imagej csv --out FOR_FIJI", "export DATASET --format coco stardist --out FOR_OTHERS"],
    ).add_argument
    add("source", type=Path, metavar="SOURCE", help="folder made by segment or generate, or label images")
    add(
        "--format",
        nargs="+",
        required=True,
        metavar="NAME",
        help="csv, labels, imagej, coco, ome-tiff, cellpose, stardist, geojson; parquet, which needs pyarrow: the training environment has it, Blender has not",
    )
    add_scale(add, "scale of label images (default: what their files say)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder that receives a folder for each format")

    add = verb(
        "analyse",
        analyse,
        "write the size distributions of a segmented series: summary values, fits, pictures",
        ["analyse RESULT --out SIZES", "analyse RESULT --weight area --border-correction --size max_feret --out SIZES"],
    ).add_argument
    add("result", type=Path, metavar="RESULT_DIR", help="folder made by segment, or a folder of particle tables")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the distributions (JSON, CSV) and their pictures")
    add("--weight", choices=["number", "area"], default="number", help="count each particle as one (default), or by its projected area")
    add("--size", default="diameter", metavar="NAME", help="diameter (default), sqrt_area, max_feret, min_feret, length or width")
    add("--border-correction", action="store_true", help="weight particles by how seldom the border spares one of their size (ISO 13322-1)")
    add("--repeats", type=int, default=1000, metavar="N", help="resamplings for the confidence intervals (default: 1000)")
    add("--seed", type=int, default=0, metavar="N", help="seed of the resampling (default: 0)")

    add = verb(
        "compare",
        compare,
        "show and measure how like real images synthetic ones are",
        [
            "compare --real images --synthetic DATASET --out COMPARISON",
            "compare --real images --synthetic DATASET --baseline EARLIER --same-scale nm --out COMPARISON",
            "compare --real images --synthetic DATASET --same-scale diameter --real-diameter-px 25 --out COMPARISON",
        ],
    ).add_argument
    add("--real", type=Path, nargs="+", required=True, metavar="IMAGES", help="real images, or folders of them")
    add("--synthetic", type=Path, nargs="+", required=True, metavar="DATASET", help="folder made by generate, or images, or folders of them")
    add("--baseline", type=Path, nargs="+", metavar="DATASET", help="another synthetic data set, measured beside the first")
    add("--valid", type=Path, metavar="DIR", help="folder of masks named as the real images; patches that hold a 0, such as burnt-in letters, are left out")
    add_scale(add, "width of a pixel of the real images (default: what their files say)")
    add("--vgg16-weights", type=Path, metavar="FILE", help="VGG16's ImageNet weights as Keras publishes them, fully connected layers included")
    add("--download-vgg16", action="store_true", help="consent to a download of these weights by Keras, once (528 MB)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the pictures and numbers")
    if chosen == "compare":
        from .learn.compare import CompareOptions

        add_flags(add.__self__, CompareOptions)

    add = verb(
        "match",
        match,
        "estimate a recipe's ranges from one to ten reference images without annotation",
        ["match --recipe sio2 --out matched.toml image1.tif image2.tif", "match --recipe tio2 --nm-per-px 7.3 --out matched.toml folder_of_images"],
    ).add_argument
    add("references", type=Path, nargs="+", metavar="IMAGES", help="one to ten reference images, or folders of them")
    add("--recipe", required=True, metavar="FILE", help="recipe to begin with, or the name of a preset")
    add("--out", type=Path, required=True, metavar="FILE.toml", help="the matched recipe; beside it the one before, the numbers and a picture")
    if chosen == "match":
        from .learn.match import MatchOptions

        add_flags(add.__self__, MatchOptions)

    hidden = verbs.add_parser("worker", parents=[common])  # without help text it is not listed
    hidden.add_argument("--out", type=Path, required=True)
    hidden.add_argument("--device", required=True)
    hidden.set_defaults(run=worker)
    hidden = verbs.add_parser("painter", parents=[common])
    hidden.add_argument("--out", type=Path, required=True)
    hidden.set_defaults(run=painter)
    hidden = verbs.add_parser("environment", parents=[common])
    hidden.add_argument("--out", type=Path, required=True)
    hidden.set_defaults(run=environment)
    hidden = verbs.add_parser("previewer", parents=[common])
    hidden.add_argument("--out", type=Path, required=True)
    hidden.set_defaults(run=previewer)

    add = verb(
        "report",
        report,
        "write a report of a series as one HTML file, as a PDF, or both; every part of it is optional",
        ["report RESULT --out report.html report.pdf", "report RESULT --dataset DATASET --run RUN --scores SCORES.json --out report.html"],
    ).add_argument
    add("results", type=Path, nargs="*", metavar="RESULT", help="folders made by segment; together they are the series")
    add("--segmentation", type=Path, nargs="+", default=[], metavar="DIR", help="the same, after a flag")
    add("--dataset", type=Path, metavar="DATASET", help="folder made by generate")
    add("--run", type=Path, metavar="RUN", dest="run_folder", help="folder made by train")
    add("--scores", type=Path, metavar="FILE", help="JSON file that 'evaluate --out' wrote")
    add("--title", default="Nanosynth report", metavar="TEXT", help="headline")
    add("--lead", default="", metavar="TEXT", help="paragraph below it")
    add("--size", default="diameter", metavar="NAME", help="diameter (default), sqrt_area, max_feret, min_feret, length or width")
    add("--border-correction", action="store_true", help="weight particles by how seldom the border spares one of their size (ISO 13322-1)")
    add("--repeats", type=int, default=1000, metavar="N", help="resamplings for the confidence intervals (default: 1000)")
    add("--seed", type=int, default=0, metavar="N", help="seed of the resampling (default: 0)")
    add("--out", type=Path, nargs="+", required=True, metavar="FILE", help="files to be written, ending in .html or .pdf")

    add = verb(
        "doctor",
        doctor,
        "tell which Python, versions and devices there are, and what is missing",
        ["doctor", "doctor --json"],
    ).add_argument
    return main


def main(argv=None) -> int:
    """Run one verb.

    Parameters
    ----------
    argv : list of str, optional
        The verb and its flags; `sys.argv[1:]` by default.

    Returns
    -------
    int
        0 on success, 1 if `doctor` finds something missing, 2 for an error that the
        user can mend or a wrong command line, 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    verb = next((word for word in argv if not word.startswith("-")), None)
    as_json = "--json" in argv or verb in {"worker", "previewer", "painter"}
    reporter = JsonReporter() if as_json else ConsoleReporter()
    try:
        needed = (NEEDS | HIDDEN).get(verb)
        if needed and not importable(needed) and not {"-h", "--help"} & set(argv):
            return elsewhere(verb, needed, argv)
        command_line = parser(verb)
        if verb is not None and verb not in (*command_line.listed, *HIDDEN):
            raise NanosynthError("there is no such verb.", nearest(verb, command_line.listed))
        arguments = command_line.parse_args(argv)
        arguments.command_line = shlex.join(["nanosynth", *argv])
        if arguments.tethered:
            from .jobs.child import tether

            tether()
        from .jobs.child import detached, interruptible

        with interruptible():  # SIGTERM as Ctrl-C: what is begun is ended in order
            with detached(arguments.detached, reporter) if arguments.detached else nullcontext(reporter) as told:
                return arguments.run(arguments, told) or 0
    except SystemExit as end:  # argparse's own way out; inside Blender it must not end the process
        return end.code or 0
    except NanosynthError as error:
        return fail(reporter, verb, error)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] not in PACKAGES:
            raise
        return fail(reporter, verb, NanosynthError(f"the package {error.name} is missing.", "'nanosynth doctor' tells how to get it."))
    except KeyboardInterrupt:
        again = "go on" if verb in RESUMED else "begin anew"
        print(f"nanosynth {verb}: interrupted. Run the same command again to {again}.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as in `nanosynth … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR


def fail(reporter, verb, error) -> int:
    if isinstance(reporter, JsonReporter):
        reporter.error(error.message, error.remedy)
    else:
        print(f"nanosynth {verb}: {error}", file=sys.stderr)
    return EXIT_ERROR
