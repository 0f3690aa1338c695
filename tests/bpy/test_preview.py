"""The live preview: what it shows, how it starts and ends; the light it shows."""

import os
import time

import bpy
import numpy as np
import pytest

import nanosynth
from nanosynth.operators import preview, state
from nanosynth.synth.previewer import Previewer, small
from nanosynth.synth.recipe import read_recipe
from nanosynth.synth.render import make_pair


@pytest.fixture(autouse=True)
def file(tmp_path):
    nanosynth.unregister()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    nanosynth.register()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "project.blend"))
    yield tmp_path
    nanosynth.unregister()


@pytest.fixture
def ops():
    return bpy.ops.nanosynth


@pytest.fixture
def tiny():
    recipe = read_recipe("sio2")
    recipe.camera.render_px, recipe.camera.image_px, recipe.camera.samples = 48, 96, 4
    recipe.arrangement.most = 20
    return recipe


def home():
    return state.home(bpy.context)


def shown():
    image = bpy.data.images[preview.IMAGE]
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    return np.rint(values.reshape(image.size[1], image.size[0], -1)[::-1, :, 0] * 255).astype(np.uint8)


def test_the_last_picture_is_the_pair(tiny):
    *first, last = Previewer().pictures(tiny, 1, side=40)
    assert (last.samples, last.of) == (4, 4)
    assert len(bpy.data.scenes) == 1  # it tidies up
    expected = make_pair(small(tiny, 40), 1).image
    difference = last.image.astype(int) - expected
    if bpy.app.version >= (4, 4, 0):
        assert np.abs(difference).max() <= 1
    else:
        assert np.abs(difference).mean() < 6


def test_a_large_picture_begins_with_a_small_one(tiny, monkeypatch):
    monkeypatch.setattr("nanosynth.synth.previewer.FIRST_PX", 24)
    tiny.degradation.noise = tiny.degradation.shot = (0.0, 0.0)
    pictures = list(Previewer().pictures(tiny, 1, side=40))
    assert [p.samples for p in pictures] == [0, 1, 2, 3, 4]
    assert {p.image.shape for p in pictures} == {(40, 40)}
    assert np.corrcoef(pictures[0].image.ravel(), pictures[-1].image.ravel())[0, 1] > 0.7


def test_what_was_arranged_is_kept_while_the_look_changes(tiny):
    previewer = Previewer()
    first = previewer.sample(tiny, 1)
    tiny.shader.base = (0.1, 0.1)
    second = previewer.sample(tiny, 1)
    assert second.particles["x_nm"] is first.particles["x_nm"] and second.drawn["shader"]["base"] == pytest.approx(0.1)
    tiny.arrangement.coverage = (0.01, 0.01)
    assert len(previewer.sample(tiny, 1).particles["x_nm"]) != len(first.particles["x_nm"])


def test_the_light_can_be_set(tiny):
    tiny.shader.diffuse = (1.0, 1.0)
    dark = list(Previewer().pictures(tiny, 1, side=40, light={"strength": 0.0}))[-1]
    bright = list(Previewer().pictures(tiny, 1, side=40, light={"strength": 2.0}))[-1]
    assert bright.image.mean() > dark.image.mean() + 5 and bright.drawn["light"]["strength"] == 2.0


def test_the_live_preview_follows_the_recipe(ops, tiny, file):
    state.put_recipe(home(), tiny)
    home().nanosynth.preview_px = 64
    assert not ops.stop_preview.poll()
    assert ops.start_preview() == {"FINISHED"}
    *_, expected = Previewer().pictures(state.recipe_of(home()), 0, side=64)
    np.testing.assert_array_equal(shown(), expected.image)
    assert bpy.data.images[preview.IMAGE]["nm_per_px"] == pytest.approx(expected.nm_per_pixel)
    child = preview.Live.child

    home().nanosynth_recipe.degradation.gain = (3.0, 3.0)
    for _ in range(3):  # many changes, one answer
        home().nanosynth.scene_index += 1
        preview.step(home())
    wait()
    *_, expected = Previewer().pictures(state.recipe_of(home()), 3, side=64)
    np.testing.assert_array_equal(shown(), expected.image)
    assert preview.Live.child is child  # it stays alive

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    state.put_recipe(home(), tiny)
    preview.step(home())
    wait()
    assert shown().shape == (96, 96)  # in the file that is open now
    desk = preview.Live.desk
    assert ops.stop_preview() == {"FINISHED"}
    child.process.wait(10)
    end = time.monotonic() + 10
    while desk.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not desk.exists() and not preview.Live.on


def wait():
    end = time.monotonic() + 60
    while not preview.Live.finished():
        assert time.monotonic() < end
        time.sleep(0.02)
        preview._hear()
    assert not preview.Live.error


def test_what_is_wrong_is_said_and_a_killed_process_is_replaced(ops, tiny):
    with pytest.raises(RuntimeError, match="templates is empty"):
        ops.start_preview()
    state.put_recipe(home(), tiny)
    assert ops.start_preview() == {"FINISHED"}
    home().nanosynth_recipe.templates[1].name = home().nanosynth_recipe.templates[0].name
    preview.step(home())
    assert "two templates of the same name" in preview.Live.error and preview.Live.on
    home().nanosynth_recipe.templates[1].name = "other"
    preview.step(home())
    wait()
    preview.Live.child.kill()
    while preview.Live.on:
        preview.step(home())
        time.sleep(0.02)
    assert "SIGKILL" in preview.Live.error or os.name == "nt"
    assert ops.start_preview() == {"FINISHED"}
