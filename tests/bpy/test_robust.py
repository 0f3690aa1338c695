"""Nothing is left behind, whatever the order of events: registering, disabling, other files, undo."""

import os
import time
from pathlib import Path

import bpy
import numpy as np
import pytest

import nanosynth
from nanosynth.fields import to_dict
from nanosynth.files import write_json
from nanosynth.learn.images import write_grey, write_labels
from nanosynth.learn.settings import read_settings
from nanosynth.operators import jobs, painter, pictures, preview, results, state
from nanosynth.synth.recipe import read_recipe

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX processes")
COLLECTIONS = ("images", "objects", "meshes", "materials", "node_groups", "scenes", "worlds", "lights", "cameras", "texts", "collections")


def content():
    return {name: sorted(item.name for item in getattr(bpy.data, name)) for name in COLLECTIONS}


def handlers():
    return {
        name: [function.__qualname__ for function in functions if (function.__module__ or "").startswith("nanosynth")]
        for name in dir(bpy.app.handlers)
        if isinstance(functions := getattr(bpy.app.handlers, name), list)
    }


def entries():
    """What is appended to Blender's menus."""
    return [
        function.__qualname__
        for function in bpy.types.TOPBAR_MT_window._dyn_ui_initialize()
        if (function.__module__ or "").startswith("nanosynth")
    ]


def children():
    """The processes that this one has started and that still live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.append(int(folder.name))
    return set(found)


def test_twenty_times_registered_leaves_what_once_does(file):
    before, hooks, processes = content(), handlers(), children()
    assert any(hooks.values()) and len(entries()) == 1
    for _ in range(20):
        nanosynth.unregister()
        assert (
            not hasattr(bpy.types.Scene, "nanosynth") and not hasattr(bpy.ops.nanosynth.use_preset, "poll") or not any(handlers().values())
        )
        nanosynth.register()
    assert (content(), handlers(), children(), len(entries())) == (before, hooks, processes, 1)
    bpy.ops.nanosynth.use_preset(preset="sio2")
    nanosynth.register()  # without unregistering
    assert handlers() == hooks and bpy.context.scene.nanosynth_recipe.name == "sio2"
    nanosynth.unregister()
    assert not any(handlers().values()) and not entries()
    nanosynth.unregister()
    nanosynth.register()


@posix
def test_disabled_at_work_nothing_works_on(file, monkeypatch):
    recipe = read_recipe("sio2")
    recipe.count, recipe.camera.render_px, recipe.camera.image_px, recipe.camera.samples = 50, 48, 96, 1
    state.put_recipe(bpy.context.scene, recipe)
    processes = children()
    monkeypatch.setattr("nanosynth.operators.base.Work.wait", False)
    for _ in range(3):
        assert bpy.ops.nanosynth.generate_dataset() == {"FINISHED"} and jobs.running("generate")
        with pytest.raises(RuntimeError):
            bpy.ops.nanosynth.generate_dataset()
        assert len(children()) > len(processes)
        nanosynth.unregister()
        assert children() == processes
        nanosynth.register()
        assert not jobs.RUNNING


@posix
def test_another_file_at_work_neither_ends_it_nor_takes_its_result(file, monkeypatch):
    recipe = read_recipe("sio2")
    recipe.count, recipe.camera.render_px, recipe.camera.image_px, recipe.camera.samples = 4, 48, 96, 1
    state.put_recipe(bpy.context.scene, recipe)
    out = state.place(bpy.context.scene, "dataset")
    monkeypatch.setattr("nanosynth.operators.base.Work.wait", False)
    bpy.ops.nanosynth.generate_dataset()
    bpy.ops.wm.read_homefile(use_empty=True)
    assert jobs.running("generate") and jobs.RUNNING["generate"].out == out
    jobs.RUNNING["generate"].wait()
    assert jobs.RUNNING["generate"].state == "done" and state.made_pairs(out) == 4
    assert not state.made_pairs(state.place(bpy.context.scene, "dataset"))


@pytest.fixture
def result(file):
    y, x = np.mgrid[:120, :160]
    discs = (np.hypot(y - 60, x - 50) < 31) | (np.hypot(y - 60, x - 108) < 31)
    out = file / "nanosynth" / "result"
    write_grey(file / "real.png", np.where(discs, 180, 10).astype(np.uint8), nm_per_px=2.0)
    write_grey(out / "probability" / "real.png", np.where(discs, 230, 12).astype(np.uint8))
    write_labels(out / "instances" / "real.png", discs.astype(np.int32))
    entry = {
        "name": "real", "image": str(file / "real.png"), "particles": 1, "nm_per_px": 2.0, "nm_per_px_source": "test", "banner_px": 0,
        "scale": {"zoom": 0.8, "diameter_px": 60.0}, "warnings": [], "files": {"probability": "probability/real.png", "instances": "instances/real.png"},
    }  # fmt: skip
    write_json(out / "segmentation.json", {"training": {"settings": to_dict(read_settings("compact"))}, "images": [entry]})
    bpy.ops.nanosynth.load_references(filepath=str(file / "real.png"))
    return out


def test_tuning_leaks_nothing_and_undo_takes_it_back(result):
    bpy.context.preferences.edit.use_global_undo = True
    window = state.home(bpy.context).nanosynth
    bpy.ops.nanosynth.show_result()
    bpy.ops.ed.undo_push(message="shown")
    before = content()
    for step in range(30):
        state.home(bpy.context).nanosynth.threshold = 0.2 + step / 50
        bpy.ops.nanosynth.tune_segmentation()
        bpy.ops.nanosynth.pick_particle(x=50, y=60)
        bpy.ops.ed.undo_push(message=f"tuned {step}")
    assert content() == before
    for _ in range(5):
        bpy.ops.ed.undo()
    window = state.home(bpy.context).nanosynth
    assert window.threshold == pytest.approx(0.2 + 24 / 50) and window.tuned
    assert results.facts_of(state.home(bpy.context))["particle"]["label"] == 1
    image = bpy.data.images[painter.IMAGES["result"][0]]
    assert image.packed_file is not None and tuple(image.size) == (160, 120) and len(image.pixels) == 160 * 120 * 4
    bpy.ops.ed.redo()
    assert state.home(bpy.context).nanosynth.threshold == pytest.approx(0.2 + 25 / 50)
    assert content() == before
    assert bpy.ops.nanosynth.tune_segmentation() == {"FINISHED"}


@pytest.mark.parametrize("what", ["result", "export"])
def test_what_the_painter_cannot_do_is_told_and_waited_for_no_longer(what):
    painter.Studio.asked[what] = 7
    painter._hear({"kind": "error", "number": 7, "message": "It cannot be written.", "remedy": "Choose another folder."})
    assert painter.Studio.errors.pop(what) == "It cannot be written. Choose another folder."
    assert not painter.Studio.busy(what)


def test_undo_brings_no_coarse_picture_back(result):
    bpy.context.preferences.edit.use_global_undo = True
    bpy.ops.nanosynth.show_result()
    bpy.ops.ed.undo_push(message="shown")
    data = bytes(bpy.data.images[painter.IMAGES["result"][0]].packed_file.data)
    pictures.packed(painter._coarse("result"), data)
    bpy.ops.ed.undo_push(message="a slider let go while the coarse picture was there")
    painter._leave()
    state.home(bpy.context).nanosynth.threshold = 0.7
    bpy.ops.ed.undo_push(message="another")
    bpy.ops.ed.undo()
    assert painter._coarse("result") not in bpy.data.images


@posix
def test_the_processes_beside_it_end_with_it(result, monkeypatch):
    """The painter's process, as a window would use it, ends when Nanosynth is taken out."""
    processes = children()
    painter._hire()
    child = painter.Studio.child
    request = results.request_of(state.home(bpy.context), what="result")
    child.send(number=1, **request)
    end = time.monotonic() + 300
    messages = []
    while not any(m and m["kind"] == "artifact" for m in messages):
        assert time.monotonic() < end
        messages.append(child.inbox.get(timeout=300)[1])
    desk = painter.Studio.desk
    assert list(desk.glob("*.tif")) and len(children()) == len(processes) + 1
    nanosynth.unregister()
    assert children() == processes and not desk.exists() and preview.Live.child is None
    nanosynth.register()
