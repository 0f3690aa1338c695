"""The verbs on the command line, the same in a shell, in `blender --command` and in Python.

Each verb is a function that imports what it needs when it runs, so that a verb
without Blender never loads bpy and one without training never loads TensorFlow.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from . import __version__
from .errors import NanosynthError
from .reporting import ConsoleReporter, JsonReporter

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
NEEDS = {"generate": "bpy", "worker": "bpy", "train": "tensorflow", "segment": "tensorflow"}


def generate(arguments, reporter):
    from .jobs.generate import generate
    from .synth.recipe import read_recipe

    recipe = read_recipe(arguments.recipe)
    if arguments.scene is not None:
        from .synth.render import make_pair

        if arguments.save_blend is None:
            raise NanosynthError("--scene keeps one scene for inspection.", "Add --save-blend FILE.blend.")
        make_pair(_with_seed(recipe, arguments.seed), arguments.scene, device=arguments.device, save_blend=arguments.save_blend)
        reporter.artifact(arguments.save_blend, "scene")
        return
    if arguments.out is None:
        raise NanosynthError("generate needs a folder for the data set.", "Add --out DATASET.")
    generate(
        recipe,
        arguments.out,
        count=arguments.count,
        seed=arguments.seed,
        workers=arguments.workers,
        device=arguments.device,
        reporter=reporter,
    )


def train(arguments, reporter):
    from .learn.training import train

    train(
        arguments.dataset,
        arguments.out,
        preset=arguments.preset,
        settings=arguments.settings,
        validation=arguments.validation,
        truth=arguments.truth,
        epochs=arguments.epochs,
        seed=arguments.seed,
        reporter=reporter,
    )


def select(arguments, reporter):
    from .learn.run import Run

    chosen = Run.open(arguments.run_folder).select(epoch=arguments.epoch, best=arguments.best)
    reporter.done(**chosen)
    if not arguments.json:
        print(f"Selected epoch {chosen['epoch']}.")


def segment(arguments, reporter):
    from .learn.segmentation import segment_files

    segment_files(arguments.model, arguments.images, arguments.out, options=arguments, reporter=reporter)


def evaluate(arguments, reporter):
    from .learn.evaluation import evaluate_folders, report

    scores = evaluate_folders(arguments.truth, arguments.predicted, valid=arguments.valid)
    reporter.done(**scores)
    if not arguments.json:
        print(report(scores))


def doctor(arguments, reporter):
    from .doctor import examine, report

    findings = examine()
    if arguments.json:
        reporter.done(**findings)
    else:
        print(report(findings))
    return 0 if findings["ok"] else 1


def elsewhere(verb, needed, argv) -> int:
    """Run a verb that needs what this Python lacks in the Python that has it."""
    if needed == "bpy":
        raise NanosynthError(
            f"{verb} needs Blender, and this Python has no bpy.",
            f"Run './nanosynth {verb} …' in a checkout or 'blender --command nanosynth {verb} …'.",
        )
    from .doctor import learn_python

    python = learn_python()
    if python is None:
        raise NanosynthError(
            f"{verb} needs TensorFlow, and no training environment is set.",
            "Name its Python in the extension's preferences or in the environment variable NANOSYNTH_LEARN_PYTHON.",
        )
    child = subprocess.Popen([str(python), str(Path(__file__).with_name("launch.py")), *argv])
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the terminal sends it to the child too; let it end in its own way
            continue


def parser() -> argparse.ArgumentParser:
    """The whole command line. Numbers are checked where they are used, so that every way in has the same checks."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="write messages as one JSON object a line on stdout, for programs")
    main = argparse.ArgumentParser(
        prog="nanosynth",
        description="Segment nanoparticles in micrographs with a network trained on rendered images.",
        epilog="'nanosynth VERB --help' shows a verb's settings and examples.",
    )
    main.add_argument("--version", action="version", version=f"nanosynth {__version__}")
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
        return sub

    add = verb(
        "generate",
        generate,
        "render a data set of synthetic micrographs with their labels",
        [
            "generate --recipe presets/sio2.toml --count 180 --seed 1 --workers 2 --out DATASET",
            "generate --recipe DATASET/recipe.toml --scene 7 --save-blend scene7.blend",
        ],
    ).add_argument
    add("--recipe", required=True, metavar="FILE", help="recipe file, or the name of a preset such as sio2")
    add("--count", type=int, metavar="N", help="number of image/label pairs (default: the recipe's)")
    add("--seed", type=int, metavar="N", help="seed of every random draw (default: the recipe's)")
    add("--workers", type=int, default=1, metavar="N", help="Blender processes that work side by side (default: 1)")
    add("--device", default="CPU", metavar="NAME", help="device of the photo render: CPU, CUDA, OPTIX, HIP, METAL or ONEAPI (default: CPU)")
    add("--out", type=Path, metavar="DATASET", help="folder of the data set; an unfinished one of the same recipe is continued")
    add("--scene", type=int, metavar="I", help="build only scene I and keep it for inspection")
    add("--save-blend", type=Path, metavar="FILE", help="where --scene keeps its scene")

    add = verb(
        "train",
        train,
        "train a network on a synthetic data set; the same command again goes on with an interrupted run",
        [
            "train DATASET --preset compact --out RUN",
            "train DATASET --preset compact --validation real.tif --truth real_labels.png --out RUN",
        ],
    ).add_argument
    add("dataset", type=Path, metavar="DATASET", help="folder made by generate")
    add("--out", type=Path, required=True, metavar="RUN", help="folder of the run; an interrupted run in it is continued")
    add("--preset", metavar="NAME", help="training settings: 'paper' (31 million weights, for a GPU) or 'compact' (default)")
    add("--settings", type=Path, metavar="FILE", help="training settings of your own, a TOML file")
    add("--epochs", type=int, metavar="N", help="number of epochs (default: the settings')")
    add("--seed", type=int, metavar="N", help="seed of the weights and the augmentation (default: the settings')")
    add("--validation", type=Path, nargs="+", default=[], metavar="IMAGE", help="real images that are predicted after each epoch")
    add("--truth", type=Path, nargs="+", default=[], metavar="LABELS", help="label image of each validation image, in the same order")

    add = verb(
        "select",
        select,
        "choose the epoch of a run that segments",
        ["select RUN --best f1", "select RUN --epoch 37"],
    ).add_argument
    add("run_folder", type=Path, metavar="RUN", help="folder made by train")
    group = add.__self__.add_mutually_exclusive_group(required=True)
    group.add_argument("--epoch", type=int, metavar="N", help="the epoch whose predictions look best to you")
    group.add_argument("--best", choices=["f1"], help="the epoch with the best score on the annotated validation images")

    add = verb(
        "segment",
        segment,
        "segment real micrographs with a trained network",
        [
            "segment models/compact image.tif --out RESULT",
            "segment RUN folder_of_images --nm-per-px 1.5 --crop-bottom 120 --out RESULT",
            "segment models/compact image.png --diameter 40 --out RESULT",
        ],
    ).add_argument
    add("model", type=Path, metavar="RUN_OR_MODEL", help="folder of a run with a selected epoch, or of a model")
    add("images", type=Path, nargs="+", metavar="IMAGES", help="TIFF, PNG, JPEG or BMP files, or folders of them")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the results")

    add = verb(
        "evaluate",
        evaluate,
        "compare label images with true ones",
        ["evaluate TRUTH_DIR RESULT/instances", "evaluate TRUTH_DIR RESULT/instances --valid VALID_DIR --json"],
    ).add_argument
    add("truth", type=Path, metavar="TRUTH_DIR", help="folder of true label images")
    add("predicted", type=Path, metavar="PREDICTED_DIR", help="folder of label images with the same names")
    add("--valid", type=Path, metavar="DIR", help="folder of masks of the same names; only their non-zero pixels count")

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
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as end:  # argparse's own way out; inside Blender it must not end the process
        return end.code or 0
    reporter = JsonReporter() if arguments.json else ConsoleReporter()
    try:
        needed = NEEDS.get(arguments.verb)
        if needed and importlib.util.find_spec(needed) is None:
            return elsewhere(arguments.verb, needed, argv)
        return arguments.run(arguments, reporter) or 0
    except NanosynthError as error:
        if arguments.json:
            reporter.error(error.message, error.remedy)
        else:
            print(f"nanosynth {arguments.verb}: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print(f"nanosynth {arguments.verb}: interrupted. Run the same command again to go on.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as in `nanosynth … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
