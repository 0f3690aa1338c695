"""Arrays and files as Blender images, in the image editors and, to scale, in the 3D view."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import bpy
import numpy as np
from PIL import Image, TiffImagePlugin  # noqa: F401  else the first picture that is saved waits for the readers of all formats

from ..errors import NanosynthError
from ..learn.pictures import EDGE_PX
from ..synth.recipe import NM_PER_UNIT

PREFIX = "Nanosynth"
PLANES = ("Nanosynth micrograph", "Nanosynth result")
FIT_S = 0.1
FAR = 100
"""How many pictures' widths beside a picture its place is measured: `view_to_region` tells whole px."""
SMALLEST = (400, 260)
"""Of what is composed for an editor, px."""
ASSUMED_NM_PER_PX = 1.0
"""Pixel size by which a micrograph of unknown scale is laid out."""


def show_array(name: str, pixels: np.ndarray) -> bpy.types.Image:
    """An image datablock with these pixels; a second call replaces them.

    Parameters
    ----------
    name : str
    pixels : ndarray (H, W) or (H, W, 3), uint8
        Row 0 at the top.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF")
    return packed(name, file.getvalue())  # of 2048 px setting the pixels themselves would take thirty times as long


def packed(name: str, data: bytes) -> bpy.types.Image:
    """An image datablock with a file inside; a second call replaces it."""
    image = bpy.data.images.get(name)
    if image is None:
        image = bpy.data.images.new(name, 8, 8, alpha=False)
    if image.source != "FILE":
        image.source = "FILE"
    image.pack(data=data, data_len=len(data))
    image.source = "GENERATED"  # the change makes Blender forget what it has read, and show the new picture
    image.source = "FILE"
    return image


def array_of(image: bpy.types.Image) -> np.ndarray:
    """The pixels of an image that `show_array` made: uint8 (H, W) or (H, W, 3), row 0 at the top."""
    source = io.BytesIO(image.packed_file.data) if image.packed_file else bpy.path.abspath(image.filepath)  # of an unpacked one
    try:
        with Image.open(source) as file:  # reading Blender's own takes a tenth of a second at 2048 px
            return np.asarray(file)
    except OSError as error:
        raise NanosynthError(f"The image {image.name} has lost its picture.", "Make it again.") from error


def show_file(context, name: str, path):
    """Show a file in an image datablock of this name, below the reference; a second call shows another file in its place."""
    from . import state

    try:
        with Image.open(path) as file:  # which does not read the picture, as Blender would for its size
            size = file.size
    except OSError as error:
        raise NanosynthError(f"{path}: missing or damaged.", "Make it again.") from error
    image = bpy.data.images.get(name) or bpy.data.images.new(name, 8, 8, alpha=False)
    image.source = "FILE"
    image.filepath = state.relative(Path(path))
    image.reload()
    show(context, image, "result", size)


def image_of(path: Path) -> bpy.types.Image:
    """The image datablock of a file, which Blender reads when it draws it.

    Its own `images.load` would take a tenth of a second the first time.
    """
    from . import state

    for image in bpy.data.images:
        if image.source == "FILE" and image.filepath and Path(bpy.path.abspath(image.filepath)) == path:
            image.reload()
            return image
    image = bpy.data.images.new(path.name, 8, 8, alpha=False)
    image.source = "FILE"
    image.filepath = state.relative(path)
    return image


def editors(context) -> list[bpy.types.Area]:
    """The image editors of the window, the uppermost first; none where there is no window."""
    window = context.window or (context.window_manager.windows[0] if context.window_manager.windows else None)
    areas = [area for area in window.screen.areas if area.type == "IMAGE_EDITOR"] if window else []
    return sorted(areas, key=lambda area: (-area.y, area.x))


def showing(image: bpy.types.Image) -> list[tuple[bpy.types.Window, bpy.types.Area]]:
    """The image editors, of all windows, in which an image is seen."""
    every = ((window, area) for window in bpy.context.window_manager.windows for area in window.screen.areas if area.type == "IMAGE_EDITOR")
    return [(window, area) for window, area in every if area.spaces.active.image == image]


def room(context, place: str) -> tuple[int, int] | None:
    """Width and height of the picture that fills an image editor pixel by pixel, once fitted; see `show`. None without one."""
    areas = [] if bpy.app.background else editors(context)
    if not areas:
        return None
    inside = next(region for region in areas[0 if place == "reference" else -1].regions if region.type == "WINDOW")
    return max(inside.width - 2 * EDGE_PX, SMALLEST[0]), max(inside.height - 2 * EDGE_PX, SMALLEST[1])


class Fitted:
    """The size of the picture that each image editor was last fitted to, by the editor's address; from Blender 5 on for each image."""

    sizes: dict[tuple[int, str], tuple[int, int]] = {}


def show(context, image: bpy.types.Image, place: str, size: tuple[int, int] | None = None):
    """Show an image in an image editor: the first one has the reference, the last one what Nanosynth makes.

    The whole picture comes into view if it is of another size than the one before;
    else the view stays as the user has set it.

    Parameters
    ----------
    place : "reference" or "result"
    size : (width, height), optional
        Of the picture, where it is known without reading it.
    """
    if bpy.app.background:
        return
    areas = editors(context)
    if not areas:
        return
    area = areas[0 if place == "reference" else -1]
    space = area.spaces.active
    size = tuple(size or image.size)
    view = area.as_pointer(), image.name if bpy.app.version >= (5, 0, 0) else ""
    fresh = space.image is None or Fitted.sizes.get(view) != size
    Fitted.sizes[view] = size
    if space.image != image:  # set again after an undo, Blender 5.2 shows it from close by
        space.image = image
    area.tag_redraw()
    if fresh:
        # Once Blender has drawn it: fitted at once, it would be read here.
        bpy.app.timers.register(functools.partial(_fit, area.as_pointer()), first_interval=FIT_S)


def exchange(window: bpy.types.Window, area: bpy.types.Area, image: bpy.types.Image, size: tuple[int, int], left=(0.0, 0.0)):
    """Show another picture of the same, of another size, in an image editor: what is seen stays where it is.

    Parameters
    ----------
    window, area : bpy.types.Window, bpy.types.Area
        Of the image editor.
    size : (width, height)
        Of the picture that comes, in px.
    left : pair of float
        What this returned for that picture when it went, as Blender 5 goes back to its view; of a new one zero.

    Returns
    -------
    pair of float
        How far the middle of the editor lies from that of the picture that goes, in px of it.
    """
    space, region = area.spaces.active, next(region for region in area.regions if region.type == "WINDOW")
    shown = space.image.size
    area.tag_redraw()
    low, high = (region.view2d.view_to_region(at, at, clip=False) for at in (-FAR, 1 + FAR))
    zoom = (high[0] - low[0]) / (1 + 2 * FAR) / max(shown[0], 1)
    if zoom <= 0 or not all(shown):  # it was not drawn yet, or the picture that goes is lost
        space.image = image
        return 0.0, 0.0
    offset = tuple((side - a - b - 1) / 2 / zoom for side, a, b in zip((region.width, region.height), low, high))
    finer = size[0] / shown[0]
    space.image = image
    space.zoom_percentage = 100 * zoom / finer
    before = left if bpy.app.version >= (5, 0, 0) else offset
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region):
        bpy.ops.image.view_pan(offset=[finer * to - at for to, at in zip(offset, before)])
    return offset


def _fit(address: int):
    """Bring the whole picture into view in the image editor at this address, if it is still there."""
    window = bpy.context.window_manager.windows[0]
    for area in editors(bpy.context):
        region = next((region for region in area.regions if region.type == "WINDOW"), None)
        if area.as_pointer() == address and region and region.width > 1 and area.spaces.active.image:
            with bpy.context.temp_override(window=window, area=area, region=region):
                bpy.ops.image.view_all(fit_view=True)


def lay_out(scene: bpy.types.Scene, reference, result: bpy.types.Image | None, nm_per_px: float, opacity: float):
    """Lay a micrograph, and its result over it, to scale in the 3D view beside the origin.

    They are image empties, which every kind of shading shows and no render does.

    Parameters
    ----------
    reference : state.Reference
    """
    width_nm = max(reference.size) * (nm_per_px or ASSUMED_NM_PER_PX)
    for level, (name, image) in enumerate(zip(PLANES, (reference.image, result))):
        item = bpy.data.objects.get(name)
        if image is None:
            if item is not None:
                bpy.data.objects.remove(item)
            continue
        if item is None:
            item = bpy.data.objects.new(name, None)
            item.empty_display_type = "IMAGE"
            item.hide_select = True
            item.use_empty_image_alpha = True
        if item.name not in scene.collection.objects:
            scene.collection.objects.link(item)
        item.data = image
        item.empty_display_size = width_nm / NM_PER_UNIT
        # A hair's breadth over one another, and under whatever lies on the substrate.
        item.location = (0.0, 0.0, (level - 2) * 1e-3)
        item.color = (1.0, 1.0, 1.0, opacity if level else 1.0)


def put_away(context, image: bpy.types.Image | None):
    """Take the planes out of the 3D view, and an image out of the image editors."""
    for item in filter(None, map(bpy.data.objects.get, PLANES)):
        bpy.data.objects.remove(item)
    for space in (area.spaces.active for area in editors(context)):
        if image is not None and space.image == image:
            space.image = None


def frame(context):
    """Look at the whole micrograph in the 3D view of the Nanosynth workspace, as large as the sidebar leaves it."""
    item = bpy.data.objects.get(PLANES[0])
    if bpy.app.background or item is None or context.workspace is None or context.workspace.name != PREFIX:
        return
    size = item.empty_display_size
    for space in (area.spaces.active for area in context.screen.areas if area.type == "VIEW_3D"):
        if space.region_3d.view_perspective == "ORTHO":
            space.region_3d.view_distance = 1.15 * size
            space.region_3d.view_location = (0.25 * size, 0.0, 0.0)
            space.clip_end = max(space.clip_end, 4 * size)


def through_camera(context, on: bool):
    """Look through the scene's camera in the 3D views of the window, or no longer; what it sees lies beside the sidebar."""
    for area in context.window.screen.areas:
        view = area.spaces.active.region_3d if area.type == "VIEW_3D" else None
        if view and (view.view_perspective == "CAMERA") != on:
            view.view_perspective = "CAMERA" if on else "ORTHO"
        if view and on:
            width = {region.type: region.width for region in area.regions}
            view.view_camera_zoom, view.view_camera_offset = 0.0, (width["UI"] / width["WINDOW"] / 2, 0.0)  # in widths of the region


def set_opacity(opacity: float):
    """Of the result over the micrograph."""
    item = bpy.data.objects.get(PLANES[1])
    if item is not None:
        item.color[3] = opacity
