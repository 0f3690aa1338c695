"""Reading micrographs and labels: formats, scale, banners, bad files."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from nanosynth.errors import NanosynthError
from nanosynth.learn import images

SIZE = (60, 80)


@pytest.fixture
def picture():
    return np.random.default_rng(1).integers(0, 256, SIZE).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.TIFF", "a.bmp", "naïve dir/b c é.png", "粒子.tif"])
def test_8_bit_values_are_divided_by_255(tmp_path, picture, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix.lower().startswith(".tif"):
        tifffile.imwrite(path, picture)
    else:
        Image.fromarray(picture).save(path)
    read = images.read_micrograph(path)
    assert read.pixels.dtype == np.float32
    assert np.array_equal(read.pixels, picture.astype(np.float32) / 255)
    assert read.nm_per_px is None and read.scale_source.startswith("none") and read.banner_px == 0


def test_jpeg_is_read_nearly_as_it_was(tmp_path):
    smooth = np.linspace(20, 230, SIZE[1])[None].repeat(SIZE[0], 0).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(images.read_micrograph(tmp_path / "a.jpg").pixels - smooth / 255).max() < 0.02


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_saved_in_colour_stays_as_it_is(tmp_path, picture, mode, suffix):
    Image.fromarray(picture).convert(mode).save(tmp_path / f"a{suffix}")
    assert np.array_equal(images.read_micrograph(tmp_path / f"a{suffix}").pixels, picture.astype(np.float32) / 255)


def test_colour_becomes_luminance(tmp_path, picture):
    colour = np.stack([picture, picture // 2, np.zeros_like(picture)], axis=-1)
    Image.fromarray(colour).save(tmp_path / "a.png")
    expected = (0.299 * picture + 0.587 * (picture // 2)) / 255
    assert np.allclose(images.read_micrograph(tmp_path / "a.png").pixels, expected, atol=1e-6)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_is_scaled_from_lowest_to_highest(tmp_path, picture, suffix):
    deep = picture.astype(np.uint16) * 16 + 100
    images.write_grey(tmp_path / f"a{suffix}", deep)
    pixels = images.read_micrograph(tmp_path / f"a{suffix}").pixels
    low, high = int(deep.min()), int(deep.max())
    assert np.allclose(pixels, (deep - low) / (high - low), atol=1e-6)


def test_float_tiff_planar_and_inverted(tmp_path, picture):
    tifffile.imwrite(tmp_path / "f.tif", picture.astype(np.float32) - 7)
    tifffile.imwrite(tmp_path / "w.tif", picture, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "p.tif", np.stack([picture] * 3), photometric="rgb", planarconfig="separate")
    low, high = int(picture.min()), int(picture.max())
    assert np.allclose(images.read_micrograph(tmp_path / "f.tif").pixels, (picture - float(low)) / (high - low), atol=1e-6)
    assert np.allclose(images.read_micrograph(tmp_path / "w.tif").pixels, 1 - picture / 255, atol=1e-6)
    assert np.allclose(images.read_micrograph(tmp_path / "p.tif").pixels, picture / 255, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_compressed_tiff(tmp_path, picture, mode, compression):
    Image.fromarray(picture).convert(mode).save(tmp_path / "a.tif", compression=compression)
    assert np.array_equal(images.read_micrograph(tmp_path / "a.tif").pixels, picture.astype(np.float32) / 255)


def test_first_page_is_used_and_said(tmp_path, picture):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(picture)
        writer.write(picture[::-1])
    read = images.read_micrograph(tmp_path / "a.tif")
    assert np.array_equal(read.pixels, picture.astype(np.float32) / 255)
    assert read.notes == ("only the first of its 2 pages is used",)


def damaged_png(tmp_path, picture):
    images.write_grey(tmp_path / "a.png", picture)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    return tmp_path / "a.png"


def damaged_tiff(tmp_path, picture):
    tifffile.imwrite(tmp_path / "a.tif", picture)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:200])
    return tmp_path / "a.tif"


def no_rows(tmp_path, picture):
    tifffile.imwrite(tmp_path / "a.tif", picture)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(0)
    return tmp_path / "a.tif"


def nonsense(tmp_path, picture):
    (tmp_path / "a.png").write_bytes(b"this is no picture")
    return tmp_path / "a.png"


def empty(tmp_path, picture):
    (tmp_path / "a.png").write_bytes(b"")
    return tmp_path / "a.png"


def constant(tmp_path, picture):
    images.write_grey(tmp_path / "a.png", np.full_like(picture, 9))
    return tmp_path / "a.png"


def tiny(tmp_path, picture):
    images.write_grey(tmp_path / "a.png", picture[:, :31])
    return tmp_path / "a.png"


def huge(tmp_path, picture):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return tmp_path / "a.png"


def long(tmp_path, picture):
    images.write_grey(tmp_path / "a.png", np.zeros((40, 30_001), np.uint8))
    return tmp_path / "a.png"


def not_finite(tmp_path, picture):
    values = picture.astype(np.float32)
    values[3, 3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values)
    return tmp_path / "a.tif"


def volume(tmp_path, picture):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([picture] * 4), volumetric=True, tile=(16, 16, 16), photometric="minisblack")
    return tmp_path / "a.tif"


def complex_numbers(tmp_path, picture):
    tifffile.imwrite(tmp_path / "a.tif", picture.astype(np.complex64))
    return tmp_path / "a.tif"


def text_like_tiff(tmp_path, picture):
    (tmp_path / "a.tif").write_bytes(b"II*\0" + b"hello" * 40)
    return tmp_path / "a.tif"


@pytest.mark.parametrize(
    "make, message",
    [
        (damaged_png, "damaged"), (damaged_tiff, "damaged"), (nonsense, "not an image"), (empty, "empty"), (constant, "same value"),
        (tiny, "31 x 60 px is too small"), (huge, "too large"), (long, "too large"), (not_finite, "no numbers"), (volume, "volume"),
        (complex_numbers, "complex"), (text_like_tiff, "holds no picture"), (no_rows, "holds no pixels"),
    ],
)  # fmt: skip
def test_bad_files_are_named_with_a_remedy(tmp_path, picture, make, message):
    path = make(tmp_path, picture)
    with pytest.raises(NanosynthError) as error:
        images.read_micrograph(path)
    assert str(path) in error.value.message and message in error.value.message and error.value.remedy
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("read", [images.read_labels, images.read_probability, images.read_mask, images.read_scale])
def test_whatever_is_read_holds_pixels(tmp_path, picture, read):
    with pytest.raises(NanosynthError, match="holds no pixels"):
        read(no_rows(tmp_path, picture))


def test_a_damaged_tiff_says_so_once(tmp_path, capfd):
    with pytest.raises(NanosynthError):
        images.read_micrograph(text_like_tiff(tmp_path, None))
    assert capfd.readouterr().err == ""


def test_cmyk_tiff_is_as_bright_as_it_looks(tmp_path, picture):
    ink = np.stack([np.zeros_like(picture)] * 3 + [255 - picture], -1)  # black alone
    tifffile.imwrite(tmp_path / "a.tif", ink, photometric="separated")
    assert np.abs(images.read_micrograph(tmp_path / "a.tif").pixels - picture.astype(np.float32) / 255).max() < 0.01


def test_tiff_of_a_rare_kind_is_told_from_a_damaged_one(tmp_path, picture):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([picture.astype(np.uint16)] * 3, -1), photometric="rgb")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(50002)
    with pytest.raises(NanosynthError, match="16 bit, 3 channels, compression JPEGXL"):
        images.read_micrograph(tmp_path / "a.tif")


def test_missing_file(tmp_path):
    with pytest.raises(NanosynthError, match=r"nowhere\.png: no such file"):
        images.read_micrograph(tmp_path / "nowhere.png")


@pytest.mark.parametrize("rows", [-1, 29, 60, 3.5, True])
def test_crop_out_of_range(tmp_path, picture, rows):
    images.write_grey(tmp_path / "a.png", picture)
    with pytest.raises(NanosynthError, match="cannot cut"):
        images.read_micrograph(tmp_path / "a.png", crop_bottom=rows)


def test_crop_by_number(tmp_path, picture):
    images.write_grey(tmp_path / "a.png", picture)
    read = images.read_micrograph(tmp_path / "a.png", crop_bottom=28)
    assert read.pixels.shape == (32, 80) and read.banner_px == 28


# Scale


def test_png_of_ours_states_its_scale(tmp_path, picture):
    images.write_grey(tmp_path / "a.png", picture, nm_per_px=1.2345)
    assert images.read_micrograph(tmp_path / "a.png").nm_per_px == 1.2345
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["nm_per_pixel"] == "1.2345"
        assert image.info["dpi"][0] == pytest.approx(25.4e6 / 1.2345, rel=1e-6)


def test_the_users_scale_goes_first(tmp_path, picture):
    images.write_grey(tmp_path / "a.png", picture, nm_per_px=1.5)
    read = images.read_micrograph(tmp_path / "a.png", nm_per_px=3)
    assert read.nm_per_px == 3.0 and read.scale_source == "given by the user"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_senseless_scale_is_refused(tmp_path, picture, value):
    images.write_grey(tmp_path / "a.png", picture)
    with pytest.raises(NanosynthError, match="nm per pixel"):
        images.read_micrograph(tmp_path / "a.png", nm_per_px=value)


def test_physical_pixel_size_of_a_png(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png", dpi=(25.4e6 / 4, 25.4e6 / 4))
    assert images.read_micrograph(tmp_path / "a.png").nm_per_px == pytest.approx(4, rel=1e-6)


@pytest.mark.parametrize("dpi", [72, 96, 300, 2400])
def test_print_resolution_is_no_scale(tmp_path, picture, dpi):
    Image.fromarray(picture).save(tmp_path / "a.png", dpi=(dpi, dpi))
    tifffile.imwrite(tmp_path / "a.tif", picture, resolution=(dpi, dpi), resolutionunit="INCH")
    for name in ("a.png", "a.tif"):
        assert images.read_micrograph(tmp_path / name).nm_per_px is None


def test_senseless_png_text_is_no_scale(tmp_path, picture):
    for value in ("wide", "nan", "-3", "0"):
        text = PngImagePlugin.PngInfo()
        text.add_text("nm_per_pixel", value)
        Image.fromarray(picture).save(tmp_path / "a.png", pnginfo=text)
        assert images.read_micrograph(tmp_path / "a.png").nm_per_px is None


@pytest.mark.parametrize("unit, factor", [("nm", 1), ("micron", 1e3), ("\\u00B5m", 1e3), ("mm", 1e6)])
def test_imagej_scale(tmp_path, picture, unit, factor):
    tifffile.imwrite(tmp_path / "a.tif", picture, imagej=True, resolution=(4, 4), metadata={"unit": unit})
    read = images.read_micrograph(tmp_path / "a.tif")
    assert read.nm_per_px == pytest.approx(0.25 * factor) and read.scale_source == "ImageJ metadata"


@pytest.mark.parametrize("unit, factor", [(None, 1e3), ("nm", 1), ("Å", 0.1)])
def test_ome_scale(tmp_path, picture, unit, factor):
    metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    if unit:
        metadata.update(PhysicalSizeXUnit=unit, PhysicalSizeYUnit=unit)
    tifffile.imwrite(tmp_path / "a.ome.tif", picture, ome=True, metadata=metadata)
    assert images.read_micrograph(tmp_path / "a.ome.tif").nm_per_px == pytest.approx(0.5 * factor)


def test_fei_scale(tmp_path, picture):
    text = "[User]\r\nDate=1\r\n[Beam]\r\nHV=5000\r\n[EScan]\r\nPixelWidth=9e-09\r\n[Scan]\r\nPixelWidth=2.5e-09\r\nPixelHeight=2.5e-09\r\n"
    tifffile.imwrite(tmp_path / "a.tif", picture, extratags=[(34682, "s", 0, text, True)])
    read = images.read_micrograph(tmp_path / "a.tif")
    assert read.nm_per_px == pytest.approx(2.5) and "FEI" in read.scale_source


def test_zeiss_scale(tmp_path, picture):
    text = "\r\n".join(["0"] * 5 + ["AP_PIXEL_SIZE", "Pixel Size = 80.0 nm", "AP_IMAGE_PIXEL_SIZE", "Image Pixel Size = 0.016 µm", ""])
    tifffile.imwrite(tmp_path / "a.tif", picture, extratags=[(34118, "s", 0, text.encode("cp1252"), True)])
    read = images.read_micrograph(tmp_path / "a.tif")
    assert read.nm_per_px == pytest.approx(16) and "AP_IMAGE_PIXEL_SIZE" in read.scale_source


def test_scale_of_original_microscope_files(development_data):
    zeiss = images.read_micrograph(development_data / "vendor_tiff" / "zeiss_1908260.tif")
    assert zeiss.nm_per_px == pytest.approx(7.344) and zeiss.pixels.shape == (712, 1024)
    fei = images.read_micrograph(development_data / "vendor_tiff" / "fei_K3Me3_3-2.tif")
    assert fei.nm_per_px is None  # it states a magnification only


# Banner


def micrograph_with_banner(height, ground, ink, *, box=None, smear=False):
    """Particles on a textured substrate, and a strip with block letters and a scale bar over the lowest rows."""
    rng = np.random.default_rng(3)
    values = 60 + 8 * rng.standard_normal((400, 500))
    y, x = np.mgrid[:400, :500]
    for _ in range(40):
        cy, cx, r = rng.uniform(0, 400), rng.uniform(0, 500), rng.uniform(8, 30)
        values[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = 170
    top = 400 - height
    left, right, bottom = box or (0, 500, 400)
    values[top:bottom, left:right] = ground
    for start in range(left + 10, right - 140, 12):
        values[top + 4 : top + 14 : 2, start : start + 7] = ink
        values[top + 4 : top + 14, start : start + 2] = ink
    values[top + 6 : top + 9, right - 110 : right - 30] = ink
    if smear:
        values[top - 1] = (values[top - 2] + values[top]) / 2
    return values.clip(0, 255) / 255


@pytest.mark.parametrize("ground, ink", [(0, 255), (255, 0), (2, 240), (250, 5), (45, 235)])
@pytest.mark.parametrize("height", [16, 40, 80])
@pytest.mark.parametrize("smear", [False, True])
def test_banner_over_the_width(height, ground, ink, smear):
    found = images.find_banner(micrograph_with_banner(height, ground, ink, smear=smear))
    assert height <= found <= height + smear


def test_floating_box():
    assert images.find_banner(micrograph_with_banner(60, 0, 255, box=(30, 430, 382))) == 60


def test_no_banner_where_none_is():
    rng = np.random.default_rng(0)
    plain = micrograph_with_banner(1, 60, 60)
    assert images.find_banner(plain) == 0
    dark = np.where(plain < 0.4, 0, plain)  # a background that is cut off to black, particles at the lower edge
    assert images.find_banner(dark) == 0
    lettered = dark.copy()
    lettered[370:372, 380:470] = 1  # a scale bar burnt into the picture
    assert images.find_banner(lettered) == 0
    assert images.find_banner(rng.random((64, 64))) == 0
    assert images.find_banner(np.zeros((100, 100))) == 0
    step = np.full((300, 300), 0.2)  # the lower edge of a wafer: abrupt, flat, but without lettering
    step[260:] = 0
    assert images.find_banner(step) == 0


def test_banner_of_real_micrographs(development_data):
    expected = {"shippable/silica_spheres": 64, "shippable/silica_fei_tiff": 61, "agglomerates/images": 0}
    for folder, rows in expected.items():
        for path in images.list_images(development_data / folder):
            assert images.read_micrograph(path).banner_px == rows, path
    strips = {"1b3c6536a3": 49, "4628753cd8": 47}
    for path in images.list_images(development_data / "spheres" / "images"):
        assert images.read_micrograph(path).banner_px == strips.get(path.stem, 0), path


# Lists and labels


def test_natural_order_and_folders(tmp_path, picture):
    for name in ("img10.png", "img2.png", "Img1.tif", ".hidden.png", "notes.txt"):
        images.write_grey(tmp_path / name, picture) if name != "notes.txt" else (tmp_path / name).write_text("x")
    (tmp_path / "sub.png").mkdir()
    assert [p.name for p in images.list_images(tmp_path)] == ["Img1.tif", "img2.png", "img10.png"]
    both = images.list_images([tmp_path / "img10.png", tmp_path])
    assert [p.name for p in both] == ["img10.png", "Img1.tif", "img2.png"]


def test_nothing_to_list_is_said(tmp_path):
    (tmp_path / "leer").mkdir()
    (tmp_path / "a.txt").write_text("x")
    for path, message in (
        (tmp_path / "leer", "no images"),
        (tmp_path / "b.png", "no such file"),
        (tmp_path / "a.txt", "not a kind of image"),
    ):
        with pytest.raises(NanosynthError, match=message) as error:
            images.list_images([path])
        assert str(path) in error.value.message and error.value.remedy
    with pytest.raises(NanosynthError):
        images.list_images([])


def test_labels_round_trip(tmp_path):
    labels = np.arange(48 * 50).reshape(48, 50)
    path = images.write_labels(tmp_path / "a.png", labels, nm_per_px=2.0)
    assert path.name == "a.png" and np.array_equal(images.read_labels(path), labels)
    with Image.open(path) as image:
        assert image.mode.startswith("I;16")
    labels[0, 0] = 70_000
    path = images.write_labels(tmp_path / "a.png", labels, nm_per_px=2.0)
    assert path.name == "a.tif" and np.array_equal(images.read_labels(path), labels)
    assert images.read_labels(path).dtype == np.int32


def test_binary_labels_become_parts(tmp_path):
    mask = np.zeros((40, 40), np.uint8)
    mask[2:6, 2:6] = mask[6:9, 6:9] = mask[20:30, 20:30] = 255
    images.write_grey(tmp_path / "a.png", mask)
    assert images.read_labels(tmp_path / "a.png").max() == 3
    assert np.array_equal(images.read_mask(tmp_path / "a.png"), mask > 0)


@pytest.mark.parametrize(
    "values, message",
    [
        (np.dstack([np.arange(1600).reshape(40, 40) % 250] * 2 + [np.zeros((40, 40))]).astype(np.uint8), "colour"),
        (np.full((40, 40), 0.5, np.float32), "whole numbers"),
        (np.full((40, 40), -1, np.int16), "whole numbers"),
    ],
)
def test_bad_labels(tmp_path, values, message):
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(NanosynthError, match=message):
        images.read_labels(tmp_path / "a.tif")


def test_a_micrograph_is_not_taken_for_labels(tmp_path):
    rng = np.random.default_rng(3)
    images.write_grey(tmp_path / "grey.png", rng.normal(120, 12, (60, 60)).clip(1, 255).astype(np.uint8))
    with pytest.raises(NanosynthError, match="grey.png: looks like a micrograph"):
        images.read_labels(tmp_path / "grey.png")
    dense = np.arange(3600, dtype=np.int32).reshape(60, 60).repeat(2, 0).repeat(2, 1) + 1  # 2 x 2 px each, no background
    images.write_labels(tmp_path / "dense.png", dense)
    np.testing.assert_array_equal(images.read_labels(tmp_path / "dense.png"), dense)
