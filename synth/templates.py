"""Template particles as Blender meshes, built-in or the artist's own."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np

from ..errors import NanosynthError
from . import shapes
from .recipe import Recipe, Template

_IMPORTERS = {".obj": "obj_import", ".ply": "ply_import", ".stl": "stl_import"}


def load_shapes(recipe: Recipe) -> dict[str, shapes.Shape]:
    """The shapes of those templates of a recipe that are meshes, by the template's name."""
    return {t.name: read_mesh(t) for t in recipe.templates if t.shape == "mesh"}


def read_mesh(template: Template) -> shapes.Shape:
    """Read a template's mesh file and bring it to unit volume.

    Raises
    ------
    NanosynthError
        If the file cannot be read or encloses no volume.
    """
    path = Path(template.mesh)
    suffix = path.suffix.lower()
    if suffix != ".blend" and suffix not in _IMPORTERS:
        raise NanosynthError(f"{path}: {suffix or 'no suffix'} is not a mesh format Nanosynth reads.", "Use .blend, .obj, .ply or .stl.")
    before, brought = _content(), set()
    try:
        try:
            items = _append_from_blend(path, template) if suffix == ".blend" else _import(path, suffix)
        except (OSError, RuntimeError) as error:  # the one from libraries.load, the other from an operator
            reason = " ".join(str(error).split())
            raise NanosynthError(
                f"{path}: not a mesh that Blender can read ({reason}).", "Export it again, or name another file."
            ) from error
        finally:
            brought = _content() - before  # materials, parents, modifiers' objects come along
        if not items:
            raise NanosynthError(f"{path}: holds no mesh.", "Export an object with faces.")
        if len(items) > 1 and suffix == ".blend":
            listed = ", ".join(o.name for o in items)
            raise NanosynthError(f"{path}: holds several meshes ({listed}).", f'Name one in templates {template.name!r} as object = "...".')
        if suffix == ".blend":  # so that its modifiers are evaluated
            bpy.context.scene.collection.objects.link(items[0])
            bpy.context.view_layer.update()
        return shape_of(items[0], template.name)
    finally:
        bpy.data.batch_remove(brought)


def _content() -> set[bpy.types.ID]:
    kinds = [kind.identifier for kind in bpy.data.bl_rna.properties if kind.type == "COLLECTION"]
    return {item for kind in kinds for item in getattr(bpy.data, kind)}


def shape_of(item: bpy.types.Object, name: str) -> shapes.Shape:
    """The shape of a Blender object, its modifiers applied, its scale kept, its place dropped."""
    graph = bpy.context.evaluated_depsgraph_get()
    evaluated = item.evaluated_get(graph) if item.name in bpy.context.scene.objects else item
    mesh = evaluated.to_mesh()
    mesh.calc_loop_triangles()
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", vertices)
    triangles = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", triangles)
    evaluated.to_mesh_clear()
    scaled = vertices.reshape(-1, 3) * np.array(item.scale)
    return shapes.normalised(scaled, triangles.reshape(-1, 3), name=name, smooth=False)


def _append_from_blend(path, template):
    with bpy.data.libraries.load(str(path), link=False) as (source, target):
        names = [template.object] if template.object else list(source.objects)
        missing = [n for n in names if n not in source.objects]
        if missing:
            raise NanosynthError(f"{path}: has no object {missing[0]!r}.", f"Its objects are: {', '.join(source.objects)}.")
        target.objects = names
    return [o for o in target.objects if o is not None and o.type == "MESH"]


def _import(path, suffix):
    before = set(bpy.data.objects)
    getattr(bpy.ops.wm, _IMPORTERS[suffix])(filepath=str(path))
    return [o for o in bpy.data.objects if o not in before and o.type == "MESH"]


def build_mesh(name: str, shape: shapes.Shape) -> bpy.types.Mesh:
    """A Blender mesh of unit radius from a shape."""
    mesh = bpy.data.meshes.new(name)
    triangles = np.ascontiguousarray(shape.triangles, np.int32)
    mesh.vertices.add(len(shape.vertices))
    mesh.loops.add(triangles.size)
    # As attributes, whose memory is copied as it is: a hundred times as fast as vertex by vertex and loop by loop.
    mesh.attributes["position"].data.foreach_set("vector", shape.vertices.astype(np.float32).ravel())
    mesh.attributes[".corner_vert"].data.foreach_set("value", triangles.ravel())
    mesh.polygons.add(len(triangles))
    mesh.polygons.foreach_set("loop_start", np.arange(0, triangles.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    mesh.shade_smooth() if shape.smooth else mesh.shade_flat()
    return mesh
