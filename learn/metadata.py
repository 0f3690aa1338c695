"""The scale that a picture's metadata state: microscopes' TIFF tags and side files, OME, ImageJ, resolution.

Every reader returns statements, pairs of nm per pixel (None where a statement is
there but of no use) and the words that say where it stands, or why it is of none.
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from xml.etree import ElementTree

from ..errors import NanosynthError, explained

GIVEN = "given by the user"
NO_SCALE = "none: the file states no pixel size"
FINEST_NM, COARSEST_NM = 0.001, 1e6
"""Between a hundredth of an atom and a millimetre: what a microscope's pixel can be."""
COARSEST_RESOLUTION_NM = 1000.0
"""No printer resolves a micrometre: a finer pixel in a resolution tag was stated by a microscope's software, or by ours."""
SIDE_FILE_BYTES = 1_000_000

_NM = {
    "pm": 1e-3,
    "å": 0.1,
    "angstrom": 0.1,
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "nanometers": 1.0,
    "um": 1e3,
    "µm": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "micrometers": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "cm": 1e7,
    "m": 1e9,
    "meter": 1e9,
    "meters": 1e9,
}
"""Nanometres in a unit, by its name in lower case with the sign U+00B5 for micro."""

_NUMBER = r"([-+]?[0-9]*[.,]?[0-9]+(?:[eE][-+]?[0-9]+)?)"


def nm_of(size, unit) -> float | None:
    """A length in nm; None for an unknown unit or a length no pixel can have.

    Parameters
    ----------
    size : float or str
    unit : str
        A name or sign of a unit of length; U+00B5, U+03BC, u and ImageJ's
        `\\u00b5` all mean micro.
    """
    name = str(unit).strip().lower().replace("\\u00b5", "µ").replace("μ", "µ")
    factor = _NM.get(name)
    if factor is None and name.endswith("m") and len(name) <= 4 and not name.isascii():
        factor = 1e3  # a micro sign in an encoding of its own
    try:
        value = float(str(size).replace(",", ".")) * factor
    except (TypeError, ValueError):
        return None
    return float(f"{value:.9g}") if math.isfinite(value) and value > 0 else None


def stated(size, unit, source):
    """A statement: the pixel size in nm with its source, or None with the reason."""
    nm = nm_of(size, unit)
    if nm is not None and FINEST_NM <= nm <= COARSEST_NM:
        return nm, source
    return None, f"none: {source} states {size} {unit}, which is no pixel size"


def settle(statements):
    """Choose among statements: the first of use counts.

    Returns
    -------
    nm_per_px : float or None
    source : str
        Starts with "none" where there is no scale.
    doubts : list of str
        Other statements that differ by more than 2 percent.
    """
    usable = [(nm, source) for nm, source in statements if nm is not None]
    if not usable:
        return None, statements[0][1] if statements else NO_SCALE, []
    nm, source = usable[0]
    doubts = [
        f"its scale is {nm:g} nm per pixel by {source}, but {other:g} by {where}"
        for other, where in usable[1:]
        if abs(other / nm - 1) > 0.02
    ]
    return nm, source, doubts


# Pictures


def png_statements(image) -> list:
    """Statements of a PNG opened with Pillow: our own text, and the physical pixel size."""
    found = []
    text = image.info.get("nm_per_pixel")
    if text is not None:
        found.append(stated(text, "nm", "PNG metadata"))
    dots_per_inch = image.info.get("dpi", (0, 0))[0] if image.format == "PNG" else 0
    if dots_per_inch and 25.4e6 / dots_per_inch < COARSEST_RESOLUTION_NM:
        found.append(stated(25.4e6 / dots_per_inch, "nm", "PNG physical pixel size"))
    return found


def tiff_statements(tiff, page) -> list:
    """Statements of a TIFF file, the most trustworthy first.

    OME and ImageJ speak of the picture as it was saved last, the microscopes'
    tags of the picture as it was taken, so the former go first. A microscope's
    tag that names another number of pixels than the picture has is of no use:
    the picture was scaled or cut since.

    Parameters
    ----------
    tiff : tifffile.TiffFile
    page : tifffile.TiffPage
    """
    readers = (_ome, _imagej, _orion, _fibics, _zeiss, _fei, _tescan_tag, _resolution)
    found = []
    for reader in readers:
        # A microscope's private tag may hold anything; a damaged one must not keep its picture from being read.
        try:
            statement = reader(tiff, page)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, ElementTree.ParseError):
            statement = None
        if statement:
            found.append(statement)
    return found


def _tag(page, code):
    return page.tags[code].value if code in page.tags else None


def _tag_text(page, code) -> str:
    value = _tag(page, code)
    if isinstance(value, (tuple, list)):
        value = bytes(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.strip("\0 \r\n\t") if isinstance(value, str) else ""


def _other_width(page, width, source):
    """A statement of no use if a tag speaks of a picture of another width."""
    if width and round(float(width)) not in (0, page.imagewidth):
        return None, f"none: {source} is for a picture {round(float(width))} px wide, and this one has {page.imagewidth} px"
    return None


def _ome(tiff, page):
    if not tiff.is_ome:
        return None
    for element in ElementTree.fromstring(tiff.ome_metadata).iter():
        if element.tag.endswith("}Pixels") and "PhysicalSizeX" in element.attrib:
            return stated(element.attrib["PhysicalSizeX"], element.attrib.get("PhysicalSizeXUnit", "µm"), "OME metadata, PhysicalSizeX")
    return None


def _imagej(tiff, page):
    unit = (tiff.imagej_metadata or {}).get("unit") if tiff.is_imagej else None
    if not unit or str(unit).lower() in ("inch", "pixel", "pixels"):
        return None
    above, below = _tag(page, 282)
    return stated(below / above, unit, "ImageJ metadata") if above else None


def _orion(tiff, page):
    """Zeiss Orion ion microscopes: <ImageTags> with <NAME><Value>..</Value><Units>..</Units></NAME> for each parameter."""
    text = _tag_text(page, 65000)
    if "<ImageTags" not in text:
        return None
    root = ElementTree.fromstring(text)

    def entry(name):
        element = root.find(f"{name}/Value")
        units = root.find(f"{name}/Units")
        return (element.text or "").strip() if element is not None else "", (units.text or "").strip() if units is not None else ""

    source = "Zeiss Orion metadata"
    other = _other_width(page, entry("ImageWidth")[0], source)
    if other:
        return other
    for name, default in (("ScalingX", "m"), ("Scaling.X", "m")):
        size, unit = entry(name)
        if size and float(size) > 0:
            return stated(size, unit or default, f"{source}, {name}")
    for name in ("Fov", "GFIS.FieldOfView"):
        size, unit = entry(name)
        if size and float(size) > 0:
            return stated(float(size) / page.imagewidth, unit or "um", f"{source}, {name}")
    return None


def _fibics(tiff, page):
    """Fibics NPVE and Zeiss Atlas: the step vector (Ux, Uy) of a scan line and the field of view, in micrometres."""
    text = _tag_text(page, 51023)
    if "<Fibics" not in text:
        return None
    root = ElementTree.fromstring(text[text.index("<Fibics") :])
    source = "Fibics metadata"
    other = _other_width(page, root.findtext("Image/Width"), source)
    if other:
        return other
    step = math.hypot(float(root.findtext("Scan/Ux") or 0), float(root.findtext("Scan/Uy") or 0))
    if step:
        return stated(step, "um", f"{source}, scan step")
    field = root.find("Scan/FOV_X")
    if field is None:
        return None
    return stated(float(field.text) / page.imagewidth, field.get("units", "um"), f"{source}, FOV_X")


def _zeiss(tiff, page):
    values = _tag(page, 34118)
    if not isinstance(values, dict):
        return None
    for key in ("ap_image_pixel_size", "ap_pixel_size"):  # the first belongs to the picture as stored
        entry = values.get(key)
        if entry and len(entry) >= 3:
            return stated(entry[1], entry[2], f"Zeiss metadata, {key.upper()}")
    return None


def _fei(tiff, page):
    """FEI and Thermo Fisher: metres in [Scan], else in [EScan] or [IScan]."""
    for code in (34682, 34680):
        sections = _tag(page, code)
        if not isinstance(sections, dict):
            continue
        sizes = [
            section["PixelWidth"]
            for _, section in sorted(sections.items(), key=lambda item: item[0] != "Scan")
            if isinstance(section, dict) and isinstance(section.get("PixelWidth"), (int, float))
        ]
        if sizes:
            width = sections.get("Image", {}).get("ResolutionX") if isinstance(sections.get("Image"), dict) else None
            return _other_width(page, width, "FEI metadata") or stated(sizes[0], "m", "FEI metadata, PixelWidth")
    return None


def _tescan_tag(tiff, page):
    return _tescan(_tag_text(page, 50431), "Tescan metadata")


def _resolution(tiff, page):
    """Pixels per inch or centimetre; not where ImageJ has put its own unit's resolution into the tag."""
    if tiff.is_imagej:
        return None
    per_unit, unit = _tag(page, 282), _tag(page, 296)
    length_nm = {2: 25.4e6, 3: 1e7}.get(2 if unit is None else int(unit))
    if not per_unit or not per_unit[0] or length_nm is None:
        return None
    nm = length_nm * per_unit[1] / per_unit[0]
    return stated(nm, "nm", "TIFF resolution") if nm < COARSEST_RESOLUTION_NM else None


# Side files


def side_statements(path, width) -> list:
    """Statements of the text file that a microscope has written beside a picture.

    Parameters
    ----------
    path : pathlib.Path
        Of the picture. Looked for are NAME.txt (Hitachi, JEOL), NAME-tif.hdr
        and NAME.hdr (Tescan) in its folder.
    width : int
        Of the picture, in px.
    """
    path = Path(path)
    kind = path.suffix[1:].lower()
    found = []
    for ending in (".txt", ".TXT", f"-{kind}.hdr", ".hdr", ".HDR"):
        side = path.with_name(path.stem + ending)
        try:
            if not side.is_file() or side.stat().st_size > SIDE_FILE_BYTES:
                continue
            text = _decoded(side.read_bytes())
        except OSError:  # a side file that cannot be read is as good as none
            continue
        for reader, maker in ((_hitachi, "Hitachi"), (_jeol, "JEOL"), (_tescan, "Tescan")):
            source = f"{maker} side file {side.name}"
            size = re.search(rf"^\s*(?:DataSize\s*=|\$CM_FULL_SIZE\s)\s*{_NUMBER}", text, re.MULTILINE)
            statement = reader(text, source)
            if not statement:
                continue
            if size and round(float(size[1])) != width:
                statement = None, f"none: {source} is for a picture {round(float(size[1]))} px wide, and this one has {width} px"
            found.append(statement)
    return found


def _decoded(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _hitachi(text, source):
    """[SemImageFile] with PixelSize in nm."""
    match = re.search(rf"^\s*PixelSize\s*=\s*{_NUMBER}[ \t]*([^\s\d]*)", text, re.MULTILINE)
    return stated(match[1], match[2] or "nm", source) if match else None


def _jeol(text, source):
    """The length of the scale bar in px and what it stands for; its whole pixels limit the precision."""
    bar = re.search(rf"^\s*\$+SM_MICRON_BAR\s+{_NUMBER}", text, re.MULTILINE)
    marker = re.search(rf"^\s*\$+SM_MICRON_MARKER\s+{_NUMBER}\s*(\S+)", text, re.MULTILINE)
    if not (bar and marker and float(bar[1]) > 0):
        return None
    length = float(marker[1].replace(",", ".")) / float(bar[1])
    return stated(f"{length:.9g}", marker[2], f"{source} (its bar of {bar[1]} px stands for {marker[1]} {marker[2]})")


def _tescan(text, source):
    """[MAIN] with PixelSizeX in metres."""
    match = re.search(rf"^\s*PixelSizeX\s*=\s*{_NUMBER}", text, re.MULTILINE)
    return stated(match[1], "m", f"{source}, PixelSizeX") if match else None


class ScaleFile:
    """The nm per pixel of each image, from a CSV file that the user wrote.

    Columns are `image` (or `name`; with or without suffix) and `nm_per_px`;
    others do not matter. Commas, semicolons or tabs part them, and beside
    semicolons and tabs a decimal comma will do.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    NanosynthError
        If a column is missing, an image is there twice, or a value is no positive number.
    """

    def __init__(self, path):
        self.path = Path(path)
        with explained(path):
            lines = _decoded(self.path.read_bytes()).splitlines()
        delimiter = max(",;\t", key=(lines[0] if lines else "").count)
        rows = [
            {key.strip().casefold(): (value or "").strip() for key, value in row.items() if isinstance(key, str)}
            for row in csv.DictReader(lines, delimiter=delimiter)
        ]
        heads = [head.strip().casefold() for head in next(csv.reader(lines[:1], delimiter=delimiter), [])]
        column = next((head for head in ("image", "name") if head in heads), None)
        if column is None or "nm_per_px" not in heads:
            raise NanosynthError(f"{path}: no columns image and nm_per_px.", "Let the first line read: image,nm_per_px")
        self.values = {}
        for number, row in enumerate(rows, 2):
            name, text = row[column], row["nm_per_px"]
            if not name or not text:
                continue
            try:
                value = float(text if delimiter == "," else text.replace(",", "."))
            except ValueError:
                value = math.nan
            if not (math.isfinite(value) and value > 0):
                raise NanosynthError(
                    f"{path}: line {number} says nm_per_px = {text!r} for {name}.", "Write a number above 0, such as 1.25."
                )
            if name in self.values:
                raise NanosynthError(f"{path}: {name} is there twice.", "Keep one of the lines.")
            self.values[name] = value

    def of(self, image) -> float | None:
        """The nm per pixel of an image, by its file name or that without suffix; None where the file has none."""
        image = Path(image)
        return self.values.get(image.name, self.values.get(image.stem))

    @property
    def source(self) -> str:
        """What is recorded as the source of such a scale."""
        return f"stated in {self.path.name}"

    def refuse_strangers(self, images):
        """Raise if the file has none of these images: it is not theirs."""
        if all(self.of(image) is None for image in images):
            raise NanosynthError(f"{self.path}: has none of the images.", "Write their file names into its column image.")


def scales_of(path, images) -> dict[str, float]:
    """File name -> nm per pixel of the images that a `ScaleFile` tells; empty without one."""
    if not path:
        return {}
    scales = ScaleFile(path)
    scales.refuse_strangers(images)
    return {Path(image).name: scales.of(image) for image in images if scales.of(image)}


def given_scale(nm_per_px, image) -> tuple[float | None, str]:
    """What a user states of an image's scale, and how.

    Parameters
    ----------
    nm_per_px : float, ScaleFile or None
    image : path-like

    Returns
    -------
    nm_per_px : float or None
        None where nothing is stated.
    source : str

    Raises
    ------
    NanosynthError
        If the number is not above 0.
    """
    if isinstance(nm_per_px, ScaleFile):
        return nm_per_px.of(image), nm_per_px.source
    if nm_per_px is not None and not (math.isfinite(nm_per_px) and nm_per_px > 0):
        raise NanosynthError(f"nm_per_px = {nm_per_px} must be above 0.", "State it in nanometres, such as 1.25.")
    return nm_per_px, GIVEN
