"""Shaders that make surfaces look as secondary electrons show them.

Brightness follows the yield at the local tilt (a power of the inverse cosine,
cut off where the finite escape depth ends its growth), times the collection
efficiency (ambient occlusion), plus a diffuse term that the scene's lamp lights:
the lamp stands for the direction of the detector. docs/contrast.md has the physics.
"""

from __future__ import annotations

import bpy

from ..fields import Spec, default_of, specs
from .recipe import NM_PER_UNIT, Shader, Substrate, Template
from .sampling import LEAST_BRIGHT


def new_material(name: str):
    """An empty material and its nodes."""
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):  # from then on every material has nodes
        material.use_nodes = True
    # Surfaces glow but light nothing: without this Cycles makes a lamp of every triangle.
    material.cycles.emission_sampling = "NONE"
    material.node_tree.nodes.clear()
    return material, Nodes(material.node_tree)


class Nodes:
    """A node tree built in few words."""

    def __init__(self, tree):
        self.tree = tree

    def add(self, kind, inputs=None, **settings):
        node = self.tree.nodes.new(f"ShaderNode{kind}")
        for name, value in settings.items():
            setattr(node, name, value)
        for socket, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, node.inputs[socket])
            else:
                node.inputs[socket].default_value = value
        return node

    def math(self, operation, *values):
        return self.add("Math", dict(enumerate(values)), operation=operation).outputs[0]

    def inputs(self):
        """The inputs of the node group that this tree is."""
        return self.tree.nodes.new("NodeGroupInput").outputs

    def surface(self, emission, diffuse, normal=None):
        """Emission plus a diffuse term, both grey."""
        glow = self.add("Emission", {"Color": self.grey(emission), "Strength": 1.0})
        lit = self.add("BsdfDiffuse", {"Color": self.grey(diffuse), **({} if normal is None else {"Normal": normal})})
        return self.add("AddShader", {0: glow.outputs[0], 1: lit.outputs[0]}).outputs[0]

    def group(self, tree):
        node = self.tree.nodes.new("ShaderNodeGroup")
        node.node_tree = tree
        return node

    def end(self, *outputs):
        """The outputs of the node group that this tree is."""
        node = self.tree.nodes.new("NodeGroupOutput")
        for k, socket in enumerate(outputs):
            self.tree.links.new(socket, node.inputs[k])

    def output(self, shader):
        self.add("OutputMaterial", {"Surface": shader})

    def grey(self, value):
        return self.add("CombineColor", {"Red": value, "Green": value, "Blue": value}).outputs[0]

    def collection(self, reach, exponent):
        """Share of the secondary electrons that neighbours leave to the detector.

        A ray is blocked or not, so no power of what a single one tells would change anything:
        exponents below 1 mix with 1, those above are taken of the mean of two rays.
        """
        occlusion = self.add("AmbientOcclusion", {"Distance": reach}, samples=2, only_local=False)
        share = self.math("MINIMUM", exponent, 1.0)
        left = self.math("POWER", occlusion.outputs["AO"], self.math("MAXIMUM", exponent, 1.0))
        return self.math("MULTIPLY_ADD", share, self.math("SUBTRACT", left, 1.0), 1.0)


SE_YIELD = "Nanosynth SE yield"
SUBSTRATE = "Nanosynth substrate"
"""Names of the node groups."""

PEAK = 0.541
"""Largest value of Dawson's function: the yield at a sphere's rim peaks at PEAK * sqrt(2 R / lambda)."""

DEVIATIONS = 8.0
"""Added to what an object's colour holds in red: Blender keeps no negative colours."""

INPUTS = {
    "Base yield": "base",
    "Edge brightness": "edge",
    "Edge exponent": "edge_exponent",
    "Edge width": "edge_width",
    "Shadowing": "shadowing",
    "Shadow reach": None,
    "Detector light": "diffuse",
    "Per-particle variation": "variation",
    "Surface texture": "roughness",
    "Surface roughness": "bump",
    "Texture grain": "grain",
    "Transparency": "transparency",
}
CORE = {"Core radius": "core", "Core contrast": "core_contrast"}
"""The SE yield group's inputs, and the field of `recipe.Shader`, or for `CORE` of `recipe.Template`, that bounds and describes each."""

SHADOW_REACH = (200.0, Spec("Reach of the shadowing.", "nm", 0.1, 1e6))
"""Default and bounds of the one input that the recipe gives in radii."""


def add_input(tree, name: str, field: str | None, section):
    """Give a node group an input with the bounds, meaning and middle of a recipe's field."""
    known = {key: spec for key, _, spec in specs(section)}
    default, spec = SHADOW_REACH if field is None else (sum(default_of(section, field)) / 2, known[field])
    unit = f" In {spec.unit}." if spec.unit else ""
    socket = tree.interface.new_socket(name, in_out="INPUT", socket_type="NodeSocketFloat", description=spec.doc + unit)
    socket.min_value, socket.max_value, socket.default_value = spec.low, spec.high, default


def mark(item: bpy.types.Object, deviation: float, radius_nm: float, brightness: float):
    """Give an object what the SE yield group reads of it.

    Parameters
    ----------
    deviation : float
        The particle's own part of the per-particle variation, in standard deviations.
    radius_nm : float
        Radius of curvature: with the escape depth it decides how bright the rim gets.
    brightness : float
        Factor on the yield that is no part of the variation (its material's, its neighbourhood's).
    """
    item.color = (deviation + DEVIATIONS, radius_nm, brightness, 1.0)


def se_yield_group() -> bpy.types.NodeTree:
    """The node group that gives a surface its secondary-electron look; made once in a file.

    Its inputs have the bounds of the recipe's fields. What belongs to the single
    particle (`mark`) it reads from the object's colour.
    """
    if SE_YIELD in bpy.data.node_groups:
        return bpy.data.node_groups[SE_YIELD]
    tree = bpy.data.node_groups.new(SE_YIELD, "ShaderNodeTree")
    for name, field in INPUTS.items():
        add_input(tree, name, field, Shader)
    for name, field in CORE.items():
        add_input(tree, name, field, Template)
    tree.interface.new_socket("Shader", in_out="OUTPUT", socket_type="NodeSocketShader")
    nodes = Nodes(tree)
    given = nodes.inputs()
    this = nodes.add("ObjectInfo")
    own = nodes.add("SeparateColor", {"Color": this.outputs["Color"]})
    radius = nodes.math("MAXIMUM", own.outputs["Green"], 1e-3)

    # What an input of 0 makes pointless (texture, roughness, core) is multiplied by it before 1 is
    # added: Cycles then leaves its nodes out.

    # The texture is fixed to the particle; each has its own piece of it.
    place = nodes.add("TexCoord").outputs["Object"]
    piece = nodes.add("VectorMath", {0: place, 1: nodes.math("MULTIPLY", this.outputs["Object Index"], 7.13)}, operation="ADD")
    scale = nodes.math("DIVIDE", 1.0, given["Texture grain"])
    noise = nodes.add("TexNoise", {"Vector": piece.outputs[0], "Scale": scale, "Detail": 4.0, "Roughness": 0.65})
    spread = nodes.math("MULTIPLY_ADD", noise.outputs[0], 4.0, -2.0)
    texture = nodes.math("ADD", nodes.math("MULTIPLY", spread, given["Surface texture"]), 1.0)

    # A rough surface: the texture tilts the normal, and the tilt's yield shows it.
    geometry = nodes.add("NewGeometry")
    push = nodes.add("VectorMath", {0: noise.outputs["Color"], 1: (0.5, 0.5, 0.5)}, operation="SUBTRACT")
    strength = nodes.math("MULTIPLY", given["Surface roughness"], 8.0)
    strength = nodes.add("CombineXYZ", {0: strength, 1: strength, 2: strength}).outputs[0]
    push = nodes.add("VectorMath", {0: push.outputs[0], 1: strength}, operation="MULTIPLY")
    tilted = nodes.add("VectorMath", {0: geometry.outputs["Normal"], 1: push.outputs[0]}, operation="ADD")
    normal = nodes.add("VectorMath", {0: tilted.outputs[0]}, operation="NORMALIZE").outputs[0]

    # Yield ~ sec^n of the tilt, until the escape depth lambda ends its growth: on a sphere of radius R
    # the yield peaks at PEAK sqrt(2 R / lambda), so the cosine is cut off at the inverse of that.
    facing = nodes.add("VectorMath", {0: normal, 1: geometry.outputs["Incoming"]}, operation="DOT_PRODUCT")
    least = nodes.math("DIVIDE", given["Edge width"], nodes.math("MULTIPLY", radius, 2.0))
    least = nodes.math("MINIMUM", nodes.math("DIVIDE", nodes.math("SQRT", least), PEAK), 1.0)
    cosine = nodes.math("MAXIMUM", nodes.math("ABSOLUTE", facing.outputs["Value"]), least)
    gain = nodes.math("SUBTRACT", nodes.math("POWER", cosine, nodes.math("MULTIPLY", given["Edge exponent"], -1.0)), 1.0)
    tilt = nodes.math("MULTIPLY_ADD", gain, given["Edge brightness"], 1.0)

    # A core shows through its shell by the length of the beam's way through it.
    aside = nodes.add("VectorMath", {0: geometry.outputs["Position"], 1: this.outputs["Location"]}, operation="SUBTRACT")
    aside = nodes.add("VectorMath", {0: aside.outputs[0], 1: (1.0, 1.0, 0.0)}, operation="MULTIPLY")
    aside = nodes.add("VectorMath", {0: aside.outputs[0]}, operation="LENGTH").outputs["Value"]
    core = nodes.math("MULTIPLY", nodes.math("MULTIPLY", radius, 1.0 / NM_PER_UNIT), given["Core radius"])
    inside = nodes.math("POWER", nodes.math("DIVIDE", aside, nodes.math("MAXIMUM", core, 1e-6)), 2.0)
    chord = nodes.math("SQRT", nodes.math("MAXIMUM", nodes.math("SUBTRACT", 1.0, inside), 0.0))
    core = nodes.math("ADD", nodes.math("MULTIPLY", chord, given["Core contrast"]), 1.0)
    texture = nodes.math("MULTIPLY", texture, core)

    deviation = nodes.math("SUBTRACT", own.outputs["Red"], DEVIATIONS)
    varied = nodes.math("MAXIMUM", nodes.math("MULTIPLY_ADD", deviation, given["Per-particle variation"], 1.0), LEAST_BRIGHT)
    look = nodes.math("MULTIPLY", nodes.math("MULTIPLY", own.outputs["Blue"], varied), given["Base yield"])
    reach = nodes.math("DIVIDE", given["Shadow reach"], NM_PER_UNIT)
    look = nodes.math("MULTIPLY", nodes.math("MULTIPLY", look, texture), nodes.collection(reach, given["Shadowing"]))
    emission = nodes.math("MULTIPLY", nodes.math("MULTIPLY", look, tilt), nodes.math("SUBTRACT", 1.0, given["Detector light"]))
    seen = nodes.surface(emission, nodes.math("MULTIPLY", look, given["Detector light"]), normal)
    # Where the particle is thin along the beam, what lies beneath adds exp(-thickness / transparency) of its own: the
    # particle's secondary electrons come from its outermost nanometres, and are no fewer.
    thickness = nodes.math("MULTIPLY", nodes.math("MULTIPLY", radius, -2.0), nodes.math("ABSOLUTE", facing.outputs["Value"]))
    through = nodes.math("EXPONENT", nodes.math("DIVIDE", thickness, nodes.math("MAXIMUM", given["Transparency"], 1e-3)))
    tree.interface.new_socket(
        "Shows through", in_out="OUTPUT", socket_type="NodeSocketFloat", description="Share of what lies beneath that shows."
    )
    nodes.end(seen, through)
    return tree


def particle_material(name: str, shader: dict, shadow_reach_nm: float, core: dict | None = None) -> bpy.types.Material:
    """The particles' material: the SE yield group with the values drawn for a scene.

    Parameters
    ----------
    shader : dict
        The values drawn for `recipe.Shader`.
    shadow_reach_nm : float
    core : dict, optional
        The values drawn for `core` and `core_contrast` of a core-shell template.
    """
    material, nodes = new_material(name)
    group = nodes.group(se_yield_group())
    for socket, field in CORE.items():
        group.inputs[socket].default_value = core[field] if core else 0.0
    for socket, field in INPUTS.items():
        group.inputs[socket].default_value = shadow_reach_nm if field is None else shader[field]
    surface = group.outputs["Shader"]
    if shader["transparency"]:  # a fifth more time, so only where it is wanted
        beneath = nodes.add("BsdfTransparent", {"Color": nodes.grey(group.outputs["Shows through"])})
        both = nodes.add("AddShader", {0: surface, 1: beneath.outputs[0]})
        # A particle counts once, where the beam enters it.
        backface, clear = nodes.add("NewGeometry").outputs["Backfacing"], nodes.add("BsdfTransparent")
        surface = nodes.add("MixShader", {0: backface, 1: both.outputs[0], 2: clear.outputs[0]}).outputs[0]
    nodes.output(surface)
    return material


SUBSTRATE_INPUTS = {
    "Substrate yield": ("relative_yield", Substrate),
    "Detector light": ("diffuse", Substrate),
    "Base yield": ("base", Shader),
    "Shadowing": ("shadowing", Shader),
    "Shadow reach": (None, Shader),
}
"""The substrate group's inputs that are bounded by the recipe's fields."""


def substrate_group() -> bpy.types.NodeTree:
    """The node group of the substrate: its yield times what is painted on it, in the particles' shadow; made once in a file."""
    if SUBSTRATE in bpy.data.node_groups:
        return bpy.data.node_groups[SUBSTRATE]
    tree = bpy.data.node_groups.new(SUBSTRATE, "ShaderNodeTree")
    for name, (field, section) in SUBSTRATE_INPUTS.items():
        add_input(tree, name, field, section)
    for name, value, doc in (
        ("Painted factor", 1.0, "Factor on the yield: texture, scratches, halos."),
        ("Dirt", 0.0, "Brightness that dirt adds."),
    ):
        socket = tree.interface.new_socket(name, in_out="INPUT", socket_type="NodeSocketFloat", description=doc)
        socket.default_value = value
    tree.interface.new_socket("Shader", in_out="OUTPUT", socket_type="NodeSocketShader")
    nodes = Nodes(tree)
    given = nodes.inputs()
    even = nodes.math("MULTIPLY", given["Substrate yield"], given["Base yield"])
    look = nodes.math("MAXIMUM", nodes.math("MULTIPLY_ADD", given["Painted factor"], even, given["Dirt"]), 0.0)
    reach = nodes.math("DIVIDE", given["Shadow reach"], NM_PER_UNIT)
    look = nodes.math("MULTIPLY", look, nodes.collection(reach, given["Shadowing"]))
    emission = nodes.math("MULTIPLY", look, nodes.math("SUBTRACT", 1.0, given["Detector light"]))
    nodes.end(nodes.surface(emission, nodes.math("MULTIPLY", look, given["Detector light"])))
    return tree


def substrate_material(name: str, substrate: dict, shader: dict, shadow_reach_nm: float, painted: bpy.types.Image) -> bpy.types.Material:
    """The substrate's material.

    Parameters
    ----------
    substrate, shader : dict
        The values drawn for `recipe.Substrate` and `recipe.Shader`.
    shadow_reach_nm : float
    painted : bpy.types.Image
        `substrate.substrate_map` in its red and green channels, spread over the field of view.
    """
    material, nodes = new_material(name)
    place = nodes.add("TexCoord").outputs["UV"]
    image = nodes.add("TexImage", {"Vector": place}, image=painted, interpolation="Linear", extension="EXTEND")
    parts = nodes.add("SeparateColor", {"Color": image.outputs["Color"]})
    group = nodes.group(substrate_group())
    for socket, (field, section) in SUBSTRATE_INPUTS.items():
        group.inputs[socket].default_value = shadow_reach_nm if field is None else (substrate if section is Substrate else shader)[field]
    for socket, part in (("Painted factor", "Red"), ("Dirt", "Green")):
        nodes.tree.links.new(parts.outputs[part], group.inputs[socket])
    nodes.output(group.outputs["Shader"])
    return material


def label_material(name: str) -> bpy.types.Material:
    """Every surface shines with its object's pass index: the second render's only shader."""
    material, nodes = new_material(name)
    index = nodes.add("ObjectInfo").outputs["Object Index"]
    glow = nodes.add("Emission", {"Color": nodes.grey(index), "Strength": 1.0})
    nodes.output(glow.outputs[0])
    return material
