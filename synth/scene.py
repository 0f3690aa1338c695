"""A drawn scene as a Blender scene of its own, which can be looked at, rendered and removed."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from .materials import label_material, mark, particle_material, substrate_material
from .recipe import NM_PER_UNIT, Recipe
from .sampling import SceneSample
from .shapes import stretching
from .substrate import map_side, substrate_map
from .templates import build_mesh

HEADROOM = 1.0
"""Blender units between the highest particle and the camera, and the near clip's half."""


@dataclass
class BuiltScene:
    """A Blender scene and all that was made for it.

    Attributes
    ----------
    scene : bpy.types.Scene
    particles : list of bpy.types.Object
        Particle k has the pass index k + 1: its id in the instance map.
    substrate : bpy.types.Object
    label : bpy.types.Material
    made : list of bpy.types.ID
    """

    scene: bpy.types.Scene
    particles: list
    substrate: bpy.types.Object
    label: bpy.types.Material
    made: list

    def remove(self):
        """Take everything out of Blender again."""
        bpy.data.batch_remove([*self.particles, *self.made, self.scene])


def build_scene(recipe: Recipe, sample: SceneSample) -> BuiltScene:
    """Build a drawn scene beside whatever the file holds already."""
    steps = building(recipe, sample, substrate_map(sample, map_side(recipe.camera.render_px)))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def building(recipe: Recipe, sample: SceneSample, painted: np.ndarray):
    """Build a drawn scene in steps, between which a window can be drawn: yield after each, return the `BuiltScene`.

    Parameters
    ----------
    recipe : Recipe
    sample : SceneSample
    painted : ndarray
        What `substrate_map` gives for it.
    """
    made = []

    def own(item):
        made.append(item)
        return item

    name = f"Nanosynth {sample.index}"
    # Blender keeps a render result for each scene name it has seen: always the same name, or memory grows.
    scene = bpy.data.scenes.new("Nanosynth")
    world = own(bpy.data.worlds.new(name))
    scene.world = world
    if bpy.app.version < (5, 0, 0):  # from then on every world has nodes
        world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.0

    table, drawn = sample.particles, sample.drawn
    count = len(table["x_nm"])
    radius = float(np.median(table["radius_nm"])) if count else 1.0
    reach = drawn["shader"]["shadow_reach"] * radius

    yield
    plain = own(particle_material(f"{name} particles", drawn["shader"], reach))
    yield
    materials = [plain if core is None else own(particle_material(f"{name} {t.name}", drawn["shader"], reach, core)) for t, core in zip(recipe.templates, drawn["cores"])]
    meshes = {}
    for f in np.unique(table["form"]):
        t = table["template"][table["form"] == f][0]
        meshes[f] = own(build_mesh(f"{name} {recipe.templates[t].name}", sample.forms[f]))
        meshes[f].materials.append(materials[t])
        yield

    particles = []
    for k in range(count):
        item = bpy.data.objects.new(f"particle {k + 1}", meshes[table["form"][k]])
        item.pass_index = k + 1
        item.rotation_mode = "QUATERNION"
        item.rotation_quaternion = [table[q][k] for q in ("qw", "qx", "qy", "qz")]
        item.location = [table[c][k] / NM_PER_UNIT for c in ("x_nm", "y_nm", "z_nm")]
        item.scale = table["radius_nm"][k] / NM_PER_UNIT * stretching(table["stretch"][k])
        mark(item, table["deviation"][k], table["radius_nm"][k], table["material"][k])
        scene.collection.objects.link(item)
        particles.append(item)
        yield

    view = sample.field_of_view / NM_PER_UNIT
    image = own(_painted(name, painted))
    yield
    plane = own(_plane(f"{name} substrate", view * (1.2 + 2 * recipe.arrangement.margin), view))
    plane.materials.append(own(substrate_material(f"{name} substrate", drawn["substrate"], drawn["shader"], reach, image)))
    yield
    substrate = own(bpy.data.objects.new(f"{name} substrate", plane))
    scene.collection.objects.link(substrate)

    # No point of a particle is further above its centre than its shape reaches.
    tops = [table["z_nm"][k] + table["radius_nm"][k] * sample.forms[table["form"][k]].reach(table["stretch"][k]) for k in range(count)]
    highest = max(tops, default=NM_PER_UNIT) / NM_PER_UNIT
    scene.collection.objects.link(own(_camera(scene, name, view, highest, own)))
    scene.collection.objects.link(own(_lamp(name, drawn["light"], recipe.light.softness, own)))
    yield
    return BuiltScene(scene, particles, substrate, own(label_material(f"{name} label")), made)


def _camera(scene, name, view, highest, own):
    data = own(bpy.data.cameras.new(name))
    data.type = "ORTHO"
    data.ortho_scale = view
    # Clip from just under the lens to below the substrate: nothing of the scene is cut.
    data.clip_start = HEADROOM / 2
    data.clip_end = highest + 2 * HEADROOM
    camera = bpy.data.objects.new(name, data)
    camera.location = (0.0, 0.0, highest + HEADROOM)
    scene.camera = camera
    return camera


def _lamp(name, light, softness, own):
    data = own(bpy.data.lights.new(name, "SUN"))
    data.energy = np.pi * light["strength"]  # a white diffuse surface facing the lamp then shines with `strength`
    data.angle = np.radians(softness)
    lamp = bpy.data.objects.new(f"{name} light", data)
    lamp.rotation_euler = (0.0, np.radians(90.0 - light["elevation"]), np.radians(light["azimuth"]))
    return lamp


def _plane(name, side, view):
    """A plane that covers a square of this side, one triangle: an edge through pixel centres would let rays slip through.

    Its texture coordinates run from 0 to 1 over the field of view.
    """
    mesh = bpy.data.meshes.new(name)
    low, high = -side / 2, 3 * side / 2
    corners = np.array([(low, low), (high, low), (low, high)])
    mesh.from_pydata([(x, y, 0) for x, y in corners], [], [(0, 1, 2)])
    layer = mesh.uv_layers.new(name="UV")
    layer.data.foreach_set("uv", (corners / view + 0.5).ravel())
    return mesh


def _painted(name, painted):
    """A substrate map as an image."""
    side = painted.shape[0]
    image = bpy.data.images.new(f"{name} substrate", side, side, float_buffer=True, is_data=True)
    pixels = np.ones((side, side, 4), np.float32)
    pixels[..., :2] = painted[::-1]
    image.pixels.foreach_set(pixels.ravel())
    image.pack()  # so that a saved file keeps it
    return image
