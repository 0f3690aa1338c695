"""The scale of a picture: microscopes' metadata, side files, scale bars, and which of them counts."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nanosynth import cli
from nanosynth.errors import NanosynthError
from nanosynth.learn import images, metadata, scalebar, scalereport

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "silica"
WIDTH, HEIGHT = 120, 80


@pytest.fixture
def picture():
    return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)


def tiff(path, picture, tag=None, text="", **options):
    extra = [] if tag is None else [(tag, 1, len(text), text, True)] if isinstance(text, bytes) else [(tag, "s", 0, text, True)]
    tifffile.imwrite(path, picture, extratags=extra, **options)
    return path


# Microscopes' tags


def orion(width=WIDTH, **entries):
    """<ImageTags> as Zeiss Orion ion microscopes write it: a Value and its Units for every parameter."""
    entries = {"GFIS.AccelerationVoltage": ("29997", "V"), "ImageWidth": (str(width), ""), **entries}
    body = "".join(f"<{name}><Value>{value}</Value><Units>{unit}</Units></{name}>" for name, (value, unit) in entries.items())
    return f'<?xml version="1.0" encoding="utf-8"?>\r\n<ImageTags>{body}</ImageTags>'


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize(
    "entries, nm",
    [
        ({"ScalingX": ("9.765625E-10", "m"), "Fov": ("5", "um")}, 0.9765625),
        ({"ScalingX": ("9.765625E-10", "")}, 0.9765625),
        ({"ScalingX": ("2.5", "nm")}, 2.5),
        ({"ScalingX": ("0", "m"), "Fov": ("6", "um")}, 50.0),
        ({"Fov": ("6", "")}, 50.0),
        ({"GFIS.FieldOfView": ("0.6", "µm")}, 5.0),
    ],
)
def test_orion(tmp_path, picture, entries, nm, as_bytes):
    text = orion(**entries)
    read = images.read_micrograph(tiff(tmp_path / "a.tif", picture, 65000, text.encode() + b"\0" if as_bytes else text.replace("µ", "u")))
    assert read.nm_per_px == pytest.approx(nm) and "Orion" in read.scale_source


def fibics(scan, width=WIDTH):
    """<Fibics> as NPVE and Atlas write it."""
    return (
        '<?xml version="1.0" encoding="iso-8859-1"?>\r\n<Fibics version="1.0"><Application><Version>NPVE v4.5</Version></Application>'
        f"<Image><Width>{width}</Width><Height>{HEIGHT}</Height><OriginalWidth>0</OriginalWidth><Beam>Orion</Beam></Image>"
        f'<Scan><Dwell units="ns">10000</Dwell>{scan}<ScanRot units="deg">0</ScanRot></Scan></Fibics>'
    )


@pytest.mark.parametrize(
    "scan, nm",
    [
        ('<FOV_X units="um">2.5</FOV_X><FOV_Y units="um">1.6</FOV_Y>', 2500 / WIDTH),
        ('<FOV_X units="um">2.5</FOV_X><Ux>0.00522874872557056</Ux><Uy>0</Uy><Vx>0</Vx><Vy>-0.00522874872557056</Vy>', 5.22874872557),
        ("<Ux>0.003</Ux><Uy>0.004</Uy><Vx>0.004</Vx><Vy>-0.003</Vy>", 5.0),  # a rotated scan
    ],
)
def test_fibics(tmp_path, picture, scan, nm):
    read = images.read_micrograph(tiff(tmp_path / "a.tif", picture, 51023, fibics(scan), resolution=(1, 1), resolutionunit="NONE"))
    assert read.nm_per_px == pytest.approx(nm) and "Fibics" in read.scale_source


@pytest.mark.parametrize("tag, text", [(65000, orion(2048, ScalingX=("1e-9", "m"))), (51023, fibics('<FOV_X units="um">2</FOV_X>', 2048))])
def test_metadata_of_a_picture_that_was_scaled_since_are_refused(tmp_path, picture, tag, text):
    read = images.read_micrograph(tiff(tmp_path / "a.tif", picture, tag, text))
    assert read.nm_per_px is None and "2048 px" in read.scale_source and read.scale_source.startswith("none")


@pytest.mark.parametrize("tag", [65000, 51023, 50431])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "<ImageTags>",
        "<Fibics><Scan><Ux>wide</Ux></Scan></Fibics>",
        "<ImageTags><Fov><Value>x</Value></Fov></ImageTags>",
        "PixelSizeX=0\n",
    ],
)
def test_damaged_metadata_do_not_keep_the_picture_from_being_read(tmp_path, picture, tag, text):
    read = images.read_micrograph(tiff(tmp_path / "a.tif", picture, tag, text))
    assert read.nm_per_px is None and read.scale_source.startswith("none")


@pytest.mark.parametrize(
    "size, unit, nm", [("734.4", "pm", 0.7344), ("7.344", "nm", 7.344), ("0.016", "µm", 16), ("0.016", "um", 16), ("0.00002", "mm", 20)]
)
def test_units_of_zeiss(tmp_path, picture, size, unit, nm):
    text = "\r\n".join(["0"] * 5 + ["AP_IMAGE_PIXEL_SIZE", f"Image Pixel Size = {size} {unit}", ""])
    read = images.read_micrograph(tiff(tmp_path / "a.tif", picture, 34118, text.encode("cp1252")))
    assert read.nm_per_px == pytest.approx(nm)


@pytest.mark.parametrize("tag", [34680, 34682])
def test_fei_of_another_width_is_refused(tmp_path, picture, tag):
    text = f"[Scan]\r\nPixelWidth=2.5e-09\r\n[Image]\r\nResolutionX={{}}\r\nResolutionY={HEIGHT}\r\n"
    assert images.read_micrograph(tiff(tmp_path / "a.tif", picture, tag, text.format(WIDTH))).nm_per_px == pytest.approx(2.5)
    assert images.read_micrograph(tiff(tmp_path / "b.tif", picture, tag, text.format(2 * WIDTH))).nm_per_px is None


def test_tescan_tag(tmp_path, picture):
    text = "[MAIN]\r\nDevice=TESCAN AMBER\r\nMagnification=50000\r\nPixelSizeX=2.0833333e-09\r\nPixelSizeY=2.0833333e-09\r\n[SEM]\r\nHV=5000\r\n"
    read = images.read_micrograph(tiff(tmp_path / "a.tif", picture, 50431, text))
    assert read.nm_per_px == pytest.approx(2.0833333) and "Tescan" in read.scale_source


@pytest.mark.parametrize(
    "unit, per_unit, nm",
    [("CENTIMETER", 2e6, 5.0), ("INCH", 25.4e6 / 4, 4.0), ("INCH", 300, None), ("CENTIMETER", 118, None), ("NONE", 2e6, None)],
)
def test_resolution_counts_only_where_no_printer_could_mean_it(tmp_path, picture, unit, per_unit, nm):
    read = images.read_micrograph(tiff(tmp_path / "a.tif", picture, resolution=(per_unit, per_unit), resolutionunit=unit))
    assert read.nm_per_px == (nm and pytest.approx(nm))


# Side files


HITACHI = "[SemImageFile]\r\nInstructName=SU8000\r\nMagnification=40000\r\nPixelSize={}\r\nDataSize={}x960\r\nMicronMarker=1000\r\n"
JEOL = "$CM_FORMAT JEOL\r\n$CM_MAG 20000\r\n$CM_FULL_SIZE {} 80\r\n$$SM_WD 8.0\r\n$$SM_MICRON_BAR 214\r\n$$SM_MICRON_MARKER {}\r\n"
TESCAN = "[MAIN]\r\nDate=2020-02-02\r\nMagnification=35000\r\nPixelSizeX=4.125e-009\r\nPixelSizeY=4.125e-009\r\n"


@pytest.mark.parametrize(
    "side, text, encoding, nm, maker",
    [
        ("a.txt", HITACHI.format("2.480469", WIDTH), "ascii", 2.480469, "Hitachi"),
        ("a.TXT", HITACHI.format("2,480469", WIDTH), "utf-16", 2.480469, "Hitachi"),
        ("a.txt", JEOL.format(WIDTH, "1um"), "ascii", 1000 / 214, "JEOL"),
        ("a.txt", JEOL.format(WIDTH, "1µm"), "cp1252", 1000 / 214, "JEOL"),
        ("a.txt", JEOL.format(WIDTH, "1μm"), "cp932", 1000 / 214, "JEOL"),
        ("a.txt", JEOL.format(WIDTH, "100nm"), "utf-8", 100 / 214, "JEOL"),
        ("a-{kind}.hdr", TESCAN, "ascii", 4.125, "Tescan"),
        ("a.hdr", TESCAN, "utf-8-sig", 4.125, "Tescan"),
    ],
)
@pytest.mark.parametrize("kind", ["tif", "png", "bmp", "jpg"])
def test_side_files(tmp_path, picture, side, text, encoding, nm, maker, kind):
    Image.fromarray(picture).save(tmp_path / f"a.{kind}")
    (tmp_path / side.format(kind=kind)).write_bytes(text.encode(encoding))
    read = images.read_micrograph(tmp_path / f"a.{kind}")
    assert read.nm_per_px == pytest.approx(nm, rel=1e-6)
    assert maker in read.scale_source and side.format(kind=kind) in read.scale_source


@pytest.mark.parametrize("text", [HITACHI.format("2.5", 2 * WIDTH), JEOL.format(2 * WIDTH, "1um")])
def test_side_files_of_a_picture_that_was_scaled_since_are_refused(tmp_path, picture, text):
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text(text)
    read = images.read_micrograph(tmp_path / "a.png")
    assert read.nm_per_px is None and "240 px wide" in read.scale_source


@pytest.mark.parametrize(
    "data", [b"", b"some notes\n", b"\xff\xfe\x00", b"$$SM_MICRON_BAR 0\n$$SM_MICRON_MARKER 1um\n", b"PixelSize=\n", b"PixelSizeX=nan\n"]
)
def test_other_text_files_beside_a_picture_say_nothing(tmp_path, picture, data):
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(data)
    assert images.read_micrograph(tmp_path / "a.png").nm_per_px is None


# Which of them counts


def test_statements_that_disagree_are_told(tmp_path, picture):
    path = tiff(
        tmp_path / "a.tif", picture, 65000, orion(ScalingX=("1e-9", "m")), imagej=True, resolution=(0.5, 0.5), metadata={"unit": "nm"}
    )
    read = images.read_micrograph(path)
    assert read.nm_per_px == 2.0 and read.scale_source == "ImageJ metadata"
    assert any("Orion" in note and "2 nm" in note and "but 1 by" in note for note in read.notes)
    assert images.read_micrograph(path, nm_per_px=3).notes == ()
    same = tiff(
        tmp_path / "b.tif", picture, 65000, orion(ScalingX=("2.01e-9", "m")), imagej=True, resolution=(0.5, 0.5), metadata={"unit": "nm"}
    )
    assert images.read_micrograph(same).notes == ()


@pytest.mark.parametrize(
    "size, unit", [(0, "nm"), (-1, "nm"), ("wide", "nm"), (float("nan"), "nm"), (1, "furlong"), (1, ""), (3, "m"), (1e-9, "nm")]
)
def test_what_is_no_pixel_size(size, unit):
    nm, source = metadata.stated(size, unit, "Label")
    assert nm is None and source.startswith("none") and "Label" in source


# Scale bars


def drawn(length, *, thick=6, ink=255, ground=70, ticks=0, left=40, noise=4, label=True, size=(300, 400)):
    """A picture of particles with a bar and block letters near its lower edge."""
    rng = np.random.default_rng(5)
    values = ground + noise * rng.standard_normal(size)
    y, x = np.mgrid[: size[0], : size[1]]
    for _ in range(12):
        cy, cx, r = rng.uniform(0, 0.8 * size[0]), rng.uniform(0, size[1]), rng.uniform(8, 25)
        values[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = 150
    top = size[0] - 40
    values[top : top + thick, left : left + length] = ink
    if ticks:
        for column in (left, left + length - 2):
            values[top - ticks : top + thick + ticks, column : column + 2] = ink
    if label:
        for start in range(left + length + 15, left + length + 60, 14):
            values[top - 6 : top + 8, start : start + 3] = ink
            values[top - 6 : top - 3, start : start + 9] = ink
    return (values.clip(0, 255) / 255).astype(np.float32), top


@pytest.mark.parametrize("ink, ground", [(255, 70), (0, 120), (255, 0), (0, 255), (230, 100), (15, 200)])
@pytest.mark.parametrize("length", [24, 60, 199])
def test_plain_bar(ink, ground, length):
    picture, top = drawn(length, ink=ink, ground=ground)
    bar = scalebar.find_bar(picture)
    assert bar.kind == "bar" and (bar.top, bar.bottom) == (top, top + 6)
    assert bar.left == pytest.approx(40, abs=0.1) and bar.length_px == pytest.approx(length, abs=0.2)


@pytest.mark.parametrize("length", [30, 101])
def test_bar_with_ticks_is_measured_from_the_middle_of_one_to_the_middle_of_the_other(length):
    picture, _ = drawn(length, thick=2, ticks=7)
    bar = scalebar.find_bar(picture)
    assert bar.kind == "ticks" and bar.left == pytest.approx(41, abs=0.1) and bar.length_px == pytest.approx(length - 2, abs=0.2)


def test_bar_interrupted_by_its_label():
    picture, top = drawn(150, thick=2, label=False)
    picture[top - 8 : top + 10, 95:135] = 0.27
    for column in (40, 188):
        picture[top - 6 : top + 8, column : column + 2] = 1
    for start in (100, 112, 124):
        picture[top - 5 : top + 7, start : start + 3] = 1
        picture[top - 5 : top - 2, start : start + 8] = 1
    bar = scalebar.find_bar(picture)
    assert bar.kind == "split" and bar.length_px == pytest.approx(148, abs=0.2)


def test_row_of_ticks():
    picture, top = drawn(60, ink=70, noise=2, label=False)
    for i in range(11):
        picture[top - 4 : top + 2, 50 + 20 * i : 52 + 20 * i] = 1
    bar = scalebar.find_bar(picture)
    assert bar.kind == "ruler" and bar.length_px == pytest.approx(200, abs=0.1)
    assert scalebar.find_bar(picture[:, :245]) is None  # its last tick is cut off, so its length is not known


def test_bar_between_pixels_of_a_scaled_picture():
    picture, _ = drawn(120)
    small = Image.fromarray((picture * 255).astype(np.uint8)).resize((300, 225), Image.Resampling.BICUBIC)
    bar = scalebar.find_bar(np.asarray(small, dtype=np.float32) / 255)
    assert bar.length_px == pytest.approx(90, abs=0.4)


def test_no_bar_where_none_is():
    picture, top = drawn(60, ink=70, label=False)
    assert scalebar.find_bar(picture) is None
    assert scalebar.find_bar(np.zeros((100, 100))) is None and scalebar.find_bar(np.random.default_rng(0).random((100, 100))) is None
    cut = drawn(120, label=False)[0][:, 60:]  # a bar that the left edge cuts
    assert scalebar.find_bar(cut) is None
    high = np.roll(drawn(60, label=False)[0], -150, axis=0)  # not where bars are
    assert scalebar.find_bar(high) is None


def test_bars_of_the_silica_spheres():
    """Their lengths are whole pixels: 1000 nm make 214 and 160 px, 100 nm make 32 and 54 px."""
    with open(EXAMPLES / "spheres" / "scale.csv", newline="") as file:
        for row in csv.DictReader(file):
            nm_per_px = float(row["nm_per_px"])
            stands_for = 1000 if row["magnification"] in ("15000", "20000") else 100
            read = images.read_micrograph(EXAMPLES / "spheres" / row["name"], bar_nm=stands_for)
            assert read.nm_per_px == pytest.approx(nm_per_px, abs=nm_per_px * nm_per_px / stands_for), row["name"]
            assert "scale bar" in read.scale_source and "by the user" in read.scale_source


@pytest.mark.parametrize("name, length", [("K3Me3_3-2.tif", 114), ("K3K4Me3_2-2.tif", 160), ("K4Me3_3-1.tif", 160)])
def test_bars_of_the_fei_files(name, length):
    read = images.read_micrograph(EXAMPLES / "fei" / name)
    assert read.nm_per_px is None and read.scale_source.startswith("none")  # they state a magnification only
    entry = scalereport.examine_scales([EXAMPLES / "fei" / name])[0]
    assert entry["bar"]["kind"] == "ticks" and entry["bar"]["length_px"] == pytest.approx(length, abs=0.5)


def test_bars_of_published_pictures(development_data):
    """What the bars of journal figures stand for, read by a person; pictures without one must get none."""
    lengths = {
        "1a29c5b84f": 188, "1b3c6536a3": 65.5, "43875c5b20": 118.4, "4628753cd8": 59.7, "4cd9e65aae": 16, "7e0c56c44b": 52.1,
        "7fabcfe23f": 44.5, "dcfbfa74e4": 57.5, "f068954421": 40.5, "0a55e7c93f": 55.8,
    }  # fmt: skip
    for path in images.list_images(development_data / "spheres" / "images"):
        grey = images.read_micrograph(path, crop_bottom=0).pixels
        bar = scalebar.find_bar(grey, images.find_banner(grey))
        expected = lengths.get(path.stem)
        assert (bar and bar.length_px) == (expected and pytest.approx(expected, abs=1)), path


# The verb


def save(path, picture):
    images.write_grey(path, np.round(picture * 255).astype(np.uint8))
    return path


def test_verb_asks_for_what_the_bar_stands_for(tmp_path, capsys):
    path = save(tmp_path / "a.png", drawn(120)[0])
    assert cli.main(["scale", str(path)]) == 0
    told = capsys.readouterr().out
    assert "scale unknown" in told and "from 40 to 160" in told and "--bar-nm" in told


def test_verb_with_the_length_of_the_bar(tmp_path, capsys):
    path = save(tmp_path / "a.png", drawn(120)[0])
    assert cli.main(["scale", str(path), "--bar-nm", "300", "--out", str(tmp_path / "marked"), "--json"]) == 0
    messages = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    entry = messages[-1]["images"][0]
    assert entry["nm_per_px"] == pytest.approx(2.5, rel=1e-3) and entry["bar"]["length_px"] == pytest.approx(120, abs=0.2)
    assert "120 px" in entry["source"] and "300 nm by the user" in entry["source"]
    shown = np.asarray(Image.open(entry["marked"]))
    red = (shown == scalereport.MARK).all(axis=2)
    columns = np.flatnonzero(red.any(axis=0))
    assert (columns[0], columns[-1]) == (40, 159)
    assert not red[entry["bar"]["top"] : entry["bar"]["bottom"], 42:158].any()  # the bar itself stays to be seen


@pytest.mark.parametrize("value", ["0", "-5", "nan"])
def test_senseless_length(tmp_path, capsys, value):
    path = save(tmp_path / "a.png", drawn(120)[0])
    assert cli.main(["scale", str(path), f"--bar-nm={value}"]) == 2
    assert "length of the scale bar" in capsys.readouterr().err


def test_a_length_without_a_bar_is_an_error_that_names_the_picture(tmp_path, capsys):
    save(tmp_path / "with.png", drawn(120)[0])
    save(tmp_path / "without.png", drawn(60, ink=70, label=False)[0])
    with pytest.raises(NanosynthError, match=r"without\.png: no scale bar"):
        images.read_micrograph(tmp_path / "without.png", bar_nm=100)
    assert cli.main(["scale", str(tmp_path), "--bar-nm", "100", "--out", str(tmp_path / "out")]) == 2
    assert "without.png" in capsys.readouterr().err
    assert (tmp_path / "out" / "with.png").exists()


def test_bar_against_metadata(tmp_path):
    picture = np.round(drawn(120)[0] * 255).astype(np.uint8)
    images.write_grey(tmp_path / "a.png", picture, nm_per_px=9.0)
    read = images.read_micrograph(tmp_path / "a.png", bar_nm=300)
    assert read.nm_per_px == pytest.approx(2.5, rel=1e-3) and any("9" in note and "PNG metadata" in note for note in read.notes)


# Scale files


def test_scale_file(tmp_path):
    path = tmp_path / "scale.csv"
    path.write_text("image,operator,nm_per_px\na.tif,me,1.25\nb,me,2\nc.png,me,\n")
    scales = metadata.ScaleFile(path)
    assert scales.of("/data/a.tif") == 1.25 and scales.of("b.png") == 2 and scales.of("c.png") is None and scales.of("a.png") is None
    assert scales.source == "stated in scale.csv"
    with pytest.raises(NanosynthError, match="none of the images"):
        scales.refuse_strangers(["x.png"])
    scales.refuse_strangers(["x.png", "b.png"])


def test_scale_file_of_a_german_spreadsheet(tmp_path):
    path = tmp_path / "scale.csv"
    path.write_bytes("Image;nm_per_px\r\nä.tif;1,25\r\n".encode("utf-8-sig"))
    assert metadata.ScaleFile(path).of("ä.tif") == 1.25


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no columns"),
        ("picture,nm\na,1\n", "no columns"),
        ("image,nm_per_px\na,0\n", "line 2 says nm_per_px = '0' for a"),
        ("image,nm_per_px\na,1\nb,wide\n", "line 3"),
        ("image,nm_per_px\na,nan\n", "line 2"),
        ("image,nm_per_px\na,1\na,2\n", "a is there twice"),
    ],
)
def test_a_wrong_scale_file_is_told(tmp_path, text, words):
    (tmp_path / "scale.csv").write_text(text)
    with pytest.raises(NanosynthError, match=words):
        metadata.ScaleFile(tmp_path / "scale.csv")


def test_the_example_has_a_scale_file():
    scales = metadata.ScaleFile(EXAMPLES / "spheres" / "scale.csv")
    assert scales.of(EXAMPLES / "spheres" / "A01-1.png") == 4.673
    assert all(scales.of(path) for path in (EXAMPLES / "spheres").glob("*.png"))
