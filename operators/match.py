"""Matching the recipe to the references, and taking that back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import bpy

from ..errors import NanosynthError
from ..fields import from_dict, to_toml
from ..synth.recipe import Recipe, read_recipe
from . import jobs, pictures, state, templates
from .base import Action, Needy
from .recipe import write_recipe

PICTURE = "Nanosynth match"
MATCHED = "//nanosynth/matched.toml"


class Matching(bpy.types.PropertyGroup):
    """What matching has changed."""

    bl_idname = "NANOSYNTH_PG_matching"
    before: bpy.props.StringProperty(
        name="Before", description="The recipe before it was matched, as TOML; empty when there is nothing to undo"
    )
    nm_per_px: bpy.props.BoolProperty(
        name="Use pixel size",
        description="Take the sizes in nm from the chosen reference's pixel size, for all references; otherwise the recipe's sizes stay",
        default=False,
    )


class MatchReferences(Needy):
    bl_idname = "nanosynth.match_references"
    bl_label = "Match to References"
    bl_description = (
        "Estimate the recipe's ranges from the loaded micrographs: brightness, edges, texture, noise, blur, sizes, coverage. "
        "Takes minutes; the recipe as it was is kept"
    )

    wait = True

    @classmethod
    def needs(cls, context):
        scene = state.home(context)
        if not scene.nanosynth.references:
            return "Load one to ten micrographs under References first."
        return "" if scene.nanosynth_recipe.templates else "Take a preset under Project first."

    @classmethod
    def poll(cls, context):
        return super().poll(context) and not jobs.busy(cls, "match")

    def invoke(self, context, event):
        self.wait = bpy.app.background
        return self.execute(context)

    def act(self, context):
        scene = state.home(context)
        window = scene.nanosynth
        if len(window.references) > 10:
            raise NanosynthError(f"{len(window.references)} references are more than ten.", "Remove the least typical ones from the list.")
        templates.freshen(scene)
        recipe = state.recipe_of(scene)
        images = [state.absolute(reference.path, "reference") for reference in window.references]
        chosen = window.references[min(window.reference_index, len(images) - 1)]
        scale = ["--nm-per-px", chosen.nm_per_px] if scene.nanosynth_matching.nm_per_px and chosen.nm_per_px else []
        out = state.absolute(MATCHED, "matched recipe")

        def command(desk):
            write_recipe(desk / "recipe.toml", recipe)
            return jobs.blender_command("match", *images, "--recipe", desk / "recipe.toml", "--out", out, *scale)

        name, files = scene.name, Opened.files
        return jobs.perform(self, "match", command, out, then=lambda: take(name, out, recipe, files))


class Opened:
    """How many files Blender has opened; of what happens in another one than before nothing is put into it."""

    files = 0


@bpy.app.handlers.persistent
def _another_file(*_):
    Opened.files += 1


def take(name: str, path: Path, matched: Recipe, files: int):
    """Put the recipe that was made of `matched` into the panels, keep the one before, and show the picture."""
    scene = bpy.data.scenes.get(name)
    if scene is None or files != Opened.files:  # the recipe's file stays
        return
    try:
        before = state.recipe_of(scene)  # which may have been changed meanwhile
    except NanosynthError:
        before = matched
    scene.nanosynth_matching.before = to_toml(before)
    state.put_recipe(scene, read_recipe(path))
    pictures.show_file(bpy.context, PICTURE, path.with_suffix(".png"))
    if not bpy.app.background:
        bpy.ops.ed.undo_push(message="Match to References")


class UndoMatch(Needy):
    bl_idname = "nanosynth.undo_match"
    bl_label = "Put Back"
    bl_description = "Take the recipe back that was there before matching; the matched one stays in its file"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def needs(cls, context):
        if state.home(context).nanosynth_matching.before:
            return ""
        return "Nothing to put back: the recipe is as it was." if PICTURE in bpy.data.images else ShowMatch.needs(context)

    def act(self, context):
        scene = state.home(context)
        state.put_recipe(scene, from_dict(Recipe, tomllib.loads(scene.nanosynth_matching.before)))
        scene.nanosynth_matching.before = ""


class ShowMatch(Needy):
    bl_idname = "nanosynth.show_match"
    bl_label = "Show Before and After"
    bl_description = "Show rows of a reference, a render of the recipe before and one after, at the same scale"

    @classmethod
    def needs(cls, context):
        return "" if PICTURE in bpy.data.images else "After matching, these show what has changed and take it back."

    def act(self, context):
        pictures.show(context, bpy.data.images[PICTURE], "result")


class DropLooks(Action):
    bl_idname = "nanosynth.drop_looks"
    bl_label = "Drop Looks"
    bl_description = "Take the looks out of the recipe, so that the panels' own sections hold again"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        if not state.home(context).nanosynth_recipe.looks:
            cls.poll_message_set("The recipe has no looks")
            return False
        return True

    def act(self, context):
        state.home(context).nanosynth_recipe.looks.clear()


HANDLERS = (("load_post", _another_file),)
POINTERS = (("nanosynth_matching", Matching),)
OPERATORS = (Matching, MatchReferences, UndoMatch, ShowMatch, DropLooks)
