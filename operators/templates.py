"""Template particles: built-in shapes, and meshes of the artist's own.

A mesh object that is marked as a template stays an ordinary object of the file.
What the recipe takes is a copy of it in a .blend file beside the project, which
is written anew when its form has changed. The mark is a custom property of the
object that names this file, so that both may be renamed or moved.
"""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import bpy
import numpy as np

from .. import properties
from ..errors import NanosynthError, explained
from ..fields import specs
from ..files import written_whole
from ..synth import forms
from ..synth.recipe import NM_PER_UNIT, Template
from ..synth.shapes import Shape, icosphere
from ..synth.templates import build_mesh, read_mesh, shape_of
from . import results, state
from .base import RELATIVE, TICK_S, Action, Needy, browse

BUILT_IN = tuple(choice for name, _, spec in specs(Template) if name == "shape" for choice in spec.choices if choice != "mesh")
MARK = "nanosynth_template"
"""The custom property of a marked object: the file that the recipe takes, as `Template.mesh` names it."""
SETTLED_S = 0.5


class AddTemplate(Action):
    bl_idname = "nanosynth.add_template"
    bl_label = "Add Template"
    bl_description = "Add a built-in particle to the templates that scenes are made of"
    bl_options = {"REGISTER", "UNDO"}

    shape: bpy.props.EnumProperty(
        name="Shape", description="A built-in shape", items=[(name, name.replace("_", " ").capitalize(), "") for name in BUILT_IN]
    )
    as_object: bpy.props.BoolProperty(
        name="As object", description="Make it a mesh object at once, to be edited as any other", default=False, options={"SKIP_SAVE"}
    )

    def act(self, context):
        scene = state.home(context)
        if self.as_object:
            state.absolute("//", "templates")  # says now, before anything is added, that the file must be saved
        template = _add(scene, self.shape.replace("_", " "))
        template.shape = self.shape
        if self.as_object:
            edit(context, scene, template)


class EditTemplate(Action):
    bl_idname = "nanosynth.edit_template"
    bl_label = "Edit as Mesh"
    bl_description = (
        "Show the chosen template as a mesh object, and select it. A built-in one becomes a mesh of your own that you edit as any other; "
        "its form is then no longer drawn anew for each scene"
    )
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        if not state.home(context).nanosynth_recipe.templates:
            cls.poll_message_set("Add a template first")
            return False
        return True

    def act(self, context):
        scene = state.home(context)
        edit(context, scene, chosen(scene))


class MarkTemplate(Needy):
    bl_idname = "nanosynth.mark_template"
    bl_label = "Use Selected Mesh"
    bl_description = "Make the active mesh a template: it stays as it is here, and what you change of it goes into the recipe"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def needs(cls, context):
        item = context.active_object
        return "" if item is not None and item.type == "MESH" else "Select a mesh in the 3D view first."

    def act(self, context):
        scene, item = state.home(context), context.active_object
        median = volume_diameter_nm(item)  # also refuses what has no volume, before anything is written
        kept = file_of(item)
        template = next((t for t in scene.nanosynth_recipe.templates if t.mesh == kept), None) or _add(scene, item.name)
        mark(item, template, kept)
        template.size.median = median
        template.size.smallest, template.size.largest = median / 10, median * 10


class RemoveTemplate(Action):
    bl_idname = "nanosynth.remove_template"
    bl_label = "Remove Template"
    bl_description = "Take the chosen template out of the recipe; its mesh and files stay"
    bl_options = {"REGISTER", "UNDO"}

    index: bpy.props.IntProperty(name="Index", description="Which; -1 is the one chosen in the list", default=-1, min=-1)

    poll = EditTemplate.poll

    def act(self, context):
        scene = state.home(context)
        index = scene.nanosynth.template_index if self.index < 0 else self.index
        templates = scene.nanosynth_recipe.templates
        if not 0 <= index < len(templates):
            raise NanosynthError(f"There is no template {index}.", f"There are {len(templates)}.")
        templates.remove(index)
        scene.nanosynth.template_index = max(0, min(index, len(templates) - 1))


class LoadSizes(Action):
    bl_idname = "nanosynth.load_sizes"
    bl_label = "Load Measured Sizes"
    bl_description = (
        "Take the sizes of the chosen template from a table: the column 'diameter_nm' of a particle table, or the first column of numbers"
    )
    bl_options = {"REGISTER", "UNDO"}

    filepath: bpy.props.StringProperty(
        name="Table", description="CSV or text file of diameters in nm", subtype="FILE_PATH", options={"SKIP_SAVE"} | RELATIVE
    )
    filter_glob: bpy.props.StringProperty(default="*.csv;*.txt;*.tsv", options={"HIDDEN"})

    poll = EditTemplate.poll

    def invoke(self, context, event):
        return self.execute(context) if self.filepath else browse(self, context)

    def act(self, context):
        sizes = read_sizes(state.absolute(self.filepath, "table"))
        size = chosen(state.home(context)).size
        size.distribution, size.measured = "list", " ".join(f"{value:.5g}" for value in sizes)
        size.median = float(np.median(sizes))
        size.smallest, size.largest = min(size.smallest, 0.99 * min(sizes)), max(size.largest, 1.01 * max(sizes))
        self.report({"INFO"}, f"{len(sizes)} sizes, median {np.median(sizes):.4g} nm")


def read_sizes(path: Path) -> list[float]:
    """Positive numbers of a table: of its column `diameter_nm`, or of the first column that holds any.

    Raises
    ------
    NanosynthError
        If there are none.
    """
    with explained(path):
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        rows = list(csv.reader(lines, delimiter=next((mark for mark in ("\t", ";", ",") if lines and mark in lines[0]), ",")))
    except csv.Error as error:
        raise NanosynthError(f"{path}: not a table ({error}).", "It needs a column of diameters in nm.") from error
    header = [word.strip().lower() for word in rows[0]] if rows else []
    order = [header.index("diameter_nm")] if "diameter_nm" in header else range(max(map(len, rows), default=0))
    for column in order:
        values = [number for row in rows if column < len(row) and (number := _number(row[column])) is not None]
        if values:
            return values
    raise NanosynthError(f"{path}: holds no sizes.", "It needs a column of diameters in nm.")


def _number(word):
    try:
        value = float(word)
    except ValueError:
        return None
    return value if 0 < value < 1e6 else None


def chosen(scene):
    """The template that the list shows as chosen."""
    templates = scene.nanosynth_recipe.templates
    return templates[max(0, min(scene.nanosynth.template_index, len(templates) - 1))]


def _add(scene, name):
    templates = scene.nanosynth_recipe.templates
    unique = free_name(name, {t.name for t in templates})
    template = templates.add()
    template.name = unique
    scene.nanosynth.template_index = len(templates) - 1
    return template


def free_name(name: str, taken) -> str:
    """The name, with a number if it is taken."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name} {number}"
    return unique


def file_name(name: str) -> str:
    """A name without the characters that some file system refuses."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).rstrip(". ") or "template"


def file_of(item) -> str:
    """The file of a marked object, or one that no other object has, as `Template.mesh` names it."""
    state.absolute("//", "templates")
    if item.get(MARK):
        return item[MARK]
    taken = {other.get(MARK) for other in bpy.data.objects}
    name, number = file_name(item.name), 1
    while (kept := f"//nanosynth/templates/{name}{f' {number}' if number > 1 else ''}.blend") in taken:
        number += 1
    return kept


def mark(item, template, kept: str):
    """Make an object the form of a template."""
    _write(item, kept)
    item[MARK] = kept
    template.shape, template.mesh, template.object = "mesh", kept, item.name


def _write(item, kept):
    path = state.absolute(kept, "templates")
    try:
        with written_whole(path) as temporary:
            bpy.data.libraries.write(str(temporary), {item}, fake_user=True, path_remap="ABSOLUTE")
    except (OSError, RuntimeError) as error:  # Blender's own tell no more than that
        raise NanosynthError(f"{path}: cannot be written ({error}).", "Save the project in a folder that can be written.") from error


def object_of(template) -> bpy.types.Object | None:
    """The object of this file that is the form of a template."""
    return next((item for item in bpy.data.objects if template.mesh and item.get(MARK) == template.mesh and item.type == "MESH"), None)


def form_of(template) -> Shape:
    """A form of a built-in template, light enough to be edited."""
    plain = properties.from_properties(Template, template)
    plain.variants = 1
    rng = np.random.default_rng(0)  # one of the forms it may have; the artist goes on from here
    if plain.shape in ("sphere", "core_shell"):
        return Shape(*icosphere(4))
    return forms.rod(plain, rng) if plain.shape == "wire" else forms.draw_forms(plain, rng)[0]


def edit(context, scene, template):
    """Show a template as an object in its scene; a built-in one becomes a mesh."""
    item = object_of(template)
    if item is None:
        if template.shape == "mesh":
            plain = properties.from_properties(Template, template)
            plain.mesh = str(state.absolute(template.mesh, f"template {template.name}"))
            shape = read_mesh(plain)
        else:
            state.absolute("//", "templates")  # says now that the file must be saved
            shape = form_of(template)
        item = bpy.data.objects.new(template.name, build_mesh(template.name, shape))
        scene.collection.objects.link(item)
        radius = template.size.median / 2 / NM_PER_UNIT
        item.scale = (radius, radius, radius)
        item.location = (
            2.5 * radius * list(scene.nanosynth_recipe.templates).index(template),
            0.0,
            -radius * float(shape.vertices[:, 2].min()),
        )
        context.view_layer.update()
        grown = volume_diameter_nm(item) / template.size.median
        if template.shape != "mesh" and abs(grown - 1) > 0.01:  # what was a rod's thickness, a hollow sphere's outer diameter
            resize(template.size, grown)
        mark(item, template, file_of(item))
    for other in context.selected_objects:
        other.select_set(False)
    if item.name in context.view_layer.objects:
        item.select_set(True)
        context.view_layer.objects.active = item


def resize(size, factor: float):
    """Make all of a template's particles larger or smaller."""
    for name in ("median", "second_median", "smallest", "largest"):
        setattr(size, name, getattr(size, name) * factor)
    size.measured = " ".join(f"{float(value) * factor:.5g}" for value in size.measured.split())


def freshen(scene):
    """Write the files of those marked objects whose form has changed, and follow their names.

    Raises
    ------
    NanosynthError
        If a mesh encloses no volume any more.
    """
    for template in scene.nanosynth_recipe.templates:
        _freshen(template)


def _freshen(template):
    item = object_of(template) if template.shape == "mesh" else None
    if item is None or item.name not in bpy.context.scene.objects:  # whose modifiers another scene does not evaluate
        return
    Freshening.now = True
    try:
        if item.mode == "EDIT":
            item.update_from_editmode()
        path, form = state.absolute(template.mesh, f"template {template.name}"), shape_of(item, template.name)
        try:
            same = _alike(_form_in(path, template), form)
        except NanosynthError:  # it is missing, or no mesh
            same = False
        if not same or template.object != item.name:
            _write(item, template.mesh)
            template.object = item.name
            Freshening.forms[path] = state.stamped(path), form
    finally:
        Freshening.now = False


def _form_in(path, template) -> Shape:
    """What a template's file holds. It is read once, for whatever comes into a scene of many objects takes Blender half a second."""
    stamp = state.stamped(path)
    known, form = Freshening.forms.get(path, (None, None))
    if stamp is None or stamp != known:
        plain = properties.from_properties(Template, template)
        plain.mesh = str(path)
        form = read_mesh(plain)
        Freshening.forms[path] = stamp, form
    return form


class Freshening:
    """While `now` is true, what changes in the file is `freshen`'s own doing.

    Attributes
    ----------
    due : set
        The marks of objects that were changed.
    forms : dict
        Path of a template's file -> (what the file was known by then, the shape in it).
    """

    now = False
    due: set[str] = set()
    forms: dict[Path, tuple] = {}


def _alike(one: Shape, other: Shape) -> bool:
    return (
        one.vertices.shape == other.vertices.shape
        and np.array_equal(one.triangles, other.triangles)
        and np.allclose(one.vertices, other.vertices, atol=1e-5)
    )


def volume_diameter_nm(item: bpy.types.Object) -> float:
    """Diameter of the sphere of the same volume as a mesh object, modifiers and scale applied.

    Raises
    ------
    NanosynthError
        If it encloses no volume.
    """
    shape_of(item, item.name)  # refuses what has no volume
    evaluated = item.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    try:
        mesh.calc_loop_triangles()
        vertices = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", vertices)
        triangles = np.empty(3 * len(mesh.loop_triangles), np.int32)
        mesh.loop_triangles.foreach_get("vertices", triangles)
    finally:
        evaluated.to_mesh_clear()
    corners = (vertices.reshape(-1, 3) * np.array(item.scale))[triangles.reshape(-1, 3)].astype(float)
    volume = abs(np.einsum("ni,ni->n", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()) / 6
    return float((6 * volume / np.pi) ** (1 / 3) * NM_PER_UNIT)


@bpy.app.handlers.persistent
def _updated(scene, depsgraph):
    """The form of a marked object may have changed: its file is written when the changes rest."""
    home = scene.nanosynth_home or scene
    if Freshening.now or bpy.app.background or not any(t.shape == "mesh" for t in home.nanosynth_recipe.templates):
        return
    # Where anything comes into the file or goes, every object is among the updates, most of them unchanged.
    changed = [update.id for update in depsgraph.updates if update.is_updated_geometry or update.is_updated_transform]
    marks = {item[MARK] for item in changed if isinstance(item, bpy.types.Object) and item.get(MARK)}
    if marks:
        Freshening.due |= marks
        if bpy.app.timers.is_registered(_rest):
            bpy.app.timers.unregister(_rest)
        bpy.app.timers.register(_rest, first_interval=SETTLED_S)


def _rest():
    """One mesh at a time, so that the window does not wait for all."""
    from .preview import scene_in_view

    if bpy.context.mode.startswith("EDIT"):
        return SETTLED_S
    template = next((t for t in scene_in_view().nanosynth_recipe.templates if t.mesh in Freshening.due), None)
    if template is None:
        Freshening.due.clear()
        return None
    Freshening.due.discard(template.mesh)
    try:
        _freshen(template)
    except NanosynthError:  # said again, and aloud, when the recipe is used
        pass
    return TICK_S


@bpy.app.handlers.persistent
def _saving(file="", *_):
    """Before it is saved, in a folder for the first time: what the file keeps has to be right from there."""
    _freshen_all()
    before, folder = _folder(bpy.data.filepath), _folder(file)
    Saved.before, Saved.paths = before, []
    if folder is None or folder == before:
        return
    marks = {item.get(MARK) for item in bpy.data.objects}  # the files of those are written where the .blend is
    kept = []
    for scene in bpy.data.scenes:
        kept += [(owner, path.identifier, bool(path.default)) for owner, path in state.paths(scene.nanosynth)]
        kept += [(template, "mesh", False) for template in scene.nanosynth_recipe.templates if template.mesh not in marks]
    Saved.paths = [(owner, name, getattr(owner, name)) for owner, name, _ in kept]
    _put_paths([(owner, name, _from(folder, getattr(owner, name), before, follows)) for owner, name, follows in kept])


def _from(folder, path, before, follows) -> str:
    """A path that is kept relative to the folder `before`, as it is to be kept in another one.

    What was chosen stays the same file, unless it lies in the new folder as well. What the project makes for itself
    (`follows`) is made anew in each folder, unless it was put somewhere else.
    """
    if before is None:
        return state.relative(path, folder) if Path(path).is_absolute() and not path.startswith("//") else path
    if not path.startswith("//") or follows and not path.startswith("//.."):
        return path
    new, old = (Path(os.path.normpath(bpy.path.abspath(path, start=str(start)))) for start in (folder, before))
    return state.relative(old, folder) if old.exists() and not new.exists() else path


def _put_paths(paths):
    with results.quiet():  # the same files, named otherwise
        for owner, name, path in paths:
            if getattr(owner, name) != path:
                setattr(owner, name, path)


def _folder(file: str) -> Path | None:
    return Path(file).parent if file else None


@bpy.app.handlers.persistent
def _saved(*_):
    """The meshes are written beside the file; after a copy was saved, or nothing, the paths are again as they were."""
    if _folder(bpy.data.filepath) == Saved.before:
        _put_paths(Saved.paths)
    else:
        _freshen_all()
    Saved.paths = []


def _freshen_all():
    for scene in bpy.data.scenes:
        try:
            freshen(scene)
        except NanosynthError:  # said when the recipe is used
            pass


class Saved:
    """While the file is saved: the folder it lay in before, and (owner, name, path) of the paths as they were kept there."""

    before: Path | None = None
    paths: list[tuple] = []


def stop():
    if bpy.app.timers.is_registered(_rest):
        bpy.app.timers.unregister(_rest)


HANDLERS = (("depsgraph_update_post", _updated), ("save_pre", _saving), ("save_post", _saved), ("save_post_fail", _saved))
OPERATORS = (AddTemplate, EditTemplate, MarkTemplate, RemoveTemplate, LoadSizes)
