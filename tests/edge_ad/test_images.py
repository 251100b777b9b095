"""Every kind of file a camera or an annotator may hand over."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_ad.errors import InputError
from edge_ad.images import (
    BACKGROUND,
    decode_image,
    list_images,
    read_image,
    read_mask,
    resize_image,
    resize_mask,
    thumbnail,
    write_image,
)

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = COLOURS[:, :, 0]


def save(folder, pixels, name="x.png", mode=None, **options):
    path = folder / name
    (Image.fromarray(pixels) if mode is None else Image.fromarray(pixels).convert(mode)).save(path, **options)
    return path


def test_rgb_is_read_as_it_is(tmp_path):
    image = read_image(save(tmp_path, COLOURS))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, COLOURS)


def test_grey_and_one_bit(tmp_path):
    np.testing.assert_array_equal(read_image(save(tmp_path, GREY)), np.repeat(GREY[:, :, None], 3, 2))
    bits = read_image(save(tmp_path, GREY > 127))
    np.testing.assert_array_equal(bits[:, :, 0], np.where(GREY > 127, 255, 0))


def test_palette(tmp_path):
    colours = np.where(GREY[:, :, None] > 127, np.uint8([200, 10, 30]), np.uint8([0, 90, 255]))
    path = tmp_path / "p.png"
    Image.fromarray(colours).quantize(4).save(path)
    assert Image.open(path).mode == "P"
    assert np.abs(read_image(path).astype(int) - colours).max() <= 4


def test_transparency_shows_mid_grey(tmp_path):
    rgba = np.dstack([COLOURS, np.zeros((20, 30), np.uint8)])
    rgba[:10, :, 3] = 255
    rgba[10, :, 3] = 128
    image = read_image(save(tmp_path, rgba))
    np.testing.assert_array_equal(image[:10], COLOURS[:10])
    assert (image[11:] == BACKGROUND).all()
    between = (COLOURS[10].astype(float) + BACKGROUND) / 2
    assert np.abs(image[10] - between).max() < 2
    grey_alpha = Image.fromarray(GREY).convert("LA")
    grey_alpha.putalpha(0)
    grey_alpha.save(tmp_path / "la.png")
    assert (read_image(tmp_path / "la.png") == BACKGROUND).all()


def test_palette_with_a_transparent_entry(tmp_path):
    image = Image.fromarray(GREY // 128).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "p.png", transparency=0)
    result = read_image(tmp_path / "p.png")
    assert (result[GREY < 128] == BACKGROUND).all()
    assert (result[GREY >= 128] == [40, 50, 60]).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_from_its_range(tmp_path, suffix):
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    image = read_image(save(tmp_path, values, f"x.{suffix}"))
    np.testing.assert_array_equal(image[:, :, 2], np.rint(values / 257))
    # A bright picture is not stretched: its own maximum plays no part.
    half = read_image(save(tmp_path, values // 2, f"half.{suffix}"))
    assert half.max() == 127 or half.max() == 128


def test_12_bit_grey_in_a_16_bit_file(tmp_path):
    values = np.linspace(0, 4095, 600).reshape(20, 30).astype(np.uint16)
    image = read_image(save(tmp_path, values))
    assert image.max() == 255
    dark = read_image(save(tmp_path, values // 4, "dark.png"))
    assert dark.max() == 64  # the same scale for a darker picture from the same camera


DEEP = RNG.integers(0, 65536, (20, 30, 4), dtype=np.uint16)


def scaled(values, top):
    return np.rint(values.astype(np.float32) * np.float32(255 / top))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(values):
    """A 16-bit PNG of 2 (grey and alpha), 3 or 4 channels, which Pillow does not write."""
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, {2: 4, 3: 2, 4: 6}[values.shape[2]], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize(("depth", "top"), [(1, 65535), (16, 4095)])
def test_16_bit_colour_is_scaled_as_grey_is(depth, top):
    values = DEEP // depth
    colours = scaled(values[:, :, :3], top)
    np.testing.assert_array_equal(decode_image(deep_png(values[:, :, :3])), colours)
    alpha = (values[:, :, 3:] >> 8) / 255
    shown = decode_image(deep_png(values))
    assert np.abs(shown - (colours * alpha + BACKGROUND * (1 - alpha))).max() <= 0.5
    grey = decode_image(deep_png(values[:, :, [0, 3]]))
    grey_top = 65535 if values[:, :, 0].max() > 4095 else 4095
    assert np.abs(grey - (scaled(values[:, :, :1], grey_top) * alpha + BACKGROUND * (1 - alpha))).max() <= 0.5


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_colour_in_tiff(order, compression, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = DEEP[:, :, :3] // 16
    options = {"photometric": "rgb", "byteorder": order, "compression": compression}
    tifffile.imwrite(tmp_path / "x.tif", values, **options)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), scaled(values, 4095))
    planes = np.ascontiguousarray(values.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "planes.tif", planes, planarconfig="separate", **options)
    with pytest.raises(InputError, match=r"planes\.tif: .* save it interleaved"):
        read_image(tmp_path / "planes.tif")


def test_32_bit_and_float_grey(tmp_path):
    wide = (GREY.astype(np.int32) * 257) & 0xFFFF
    np.testing.assert_array_equal(read_image(save(tmp_path, wide, "i.tif"))[:, :, 0], GREY)
    unit = GREY.astype(np.float32) / 255
    np.testing.assert_array_equal(read_image(save(tmp_path, unit, "f.tif"))[:, :, 0], GREY)
    with pytest.raises(InputError, match=r"out\.tif.*0\.\.1"):
        read_image(save(tmp_path, unit * 9, "out.tif"))
    with pytest.raises(InputError, match=r"nan\.tif"):
        read_image(save(tmp_path, unit * np.nan, "nan.tif"))
    with pytest.raises(InputError, match=r"big\.tif.*0\.\.65535"):
        read_image(save(tmp_path, wide * 100, "big.tif"))


def test_cmyk_and_lab(tmp_path):
    flat = np.full((16, 16, 3), [200, 60, 60], np.uint8)
    for mode, name in (("CMYK", "c.jpg"), ("CMYK", "c.tif"), ("LAB", "l.tif")):
        if mode == "LAB":
            from PIL import ImageCms

            transform = ImageCms.buildTransform(
                ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
            )
            image = ImageCms.applyTransform(Image.fromarray(flat), transform)
            image.save(tmp_path / name)
        else:
            save(tmp_path, flat, name, mode)
        assert Image.open(tmp_path / name).mode == mode
        result = read_image(tmp_path / name)
        assert result.shape == (16, 16, 3)
        assert np.abs(result.astype(int) - flat).max() < 12, name


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_orientation(tmp_path, orientation, suffix):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 255  # a white corner top left
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    image = read_image(path)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).max() < 30


def test_what_is_not_a_picture(tmp_path):
    with pytest.raises(InputError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match=r"text\.png: is not an image"):
        read_image(tmp_path / "text.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.png"):
        read_image(tmp_path / "empty.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
def test_a_truncated_file(tmp_path, suffix):
    big = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path, big, f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"cut\.{suffix}"):
        read_image(path)


def test_a_decompression_bomb_is_refused_before_decoding(tmp_path):
    for side in (9_700, 60_000):  # Pillow warns at the first size and raises at the second
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(data)
        with pytest.raises(InputError, match=r"bomb\.png: holds more than"):
            read_image(tmp_path / "bomb.png")


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM", "GIF"]))
def test_damaged_bytes_give_a_picture_or_an_input_error(data, kind):
    buffer = io.BytesIO()
    Image.fromarray(COLOURS).save(buffer, format=kind)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(content), "part.bin")
    except InputError as error:
        message = str(error)
    else:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        return
    assert "part.bin" in message
    assert "\n" not in message


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may read anything")
def test_a_file_without_permission(tmp_path):
    path = save(tmp_path, COLOURS)
    path.chmod(0)
    with pytest.raises(InputError, match="permissions"):
        read_image(path)


def test_masks(tmp_path):
    truth = GREY > 200
    for name, pixels in {
        "255.png": truth * np.uint8(255),
        "1.png": truth * np.uint8(1),
        "bit.png": truth,
        "16.png": truth * np.uint16(65535),
        "rgb.png": np.repeat((truth * np.uint8(255))[:, :, None], 3, 2),
        "alpha.png": np.dstack([np.full((20, 30, 3), 255, np.uint8), truth * np.uint8(255)]),
    }.items():
        mask = read_mask(save(tmp_path, pixels, name), (20, 30))
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, truth, err_msg=name)
    block = np.zeros((32, 32), np.uint8)
    block[8:24, 8:24] = 255
    np.testing.assert_array_equal(read_mask(save(tmp_path, block, "m.jpg", quality=50), (32, 32)), block > 0)


def test_a_mask_of_another_size(tmp_path):
    path = save(tmp_path, GREY, "m.png")
    with pytest.raises(InputError, match=r"m\.png: the mask is 30x20 pixels but its image is 40x20"):
        read_mask(path, (20, 40))


def test_resizing():
    flat = np.full((33, 57, 3), 77, np.uint8)
    assert (resize_image(flat, 16) == 77).all()
    fine = np.zeros((64, 64, 3), np.uint8)
    fine[:, ::2] = 255  # stripes finer than the result's pixels average out: antialiased
    assert np.abs(resize_image(fine, 16).astype(int) - 127).max() < 12
    assert resize_image(fine, 64) is fine
    mask = np.zeros((64, 32), bool)
    mask[32:] = True
    np.testing.assert_array_equal(resize_mask(mask, 8), np.arange(8)[:, None].repeat(8, 1) >= 4)
    assert thumbnail(np.zeros((100, 50, 3), np.uint8), 20).shape == (20, 10, 3)
    assert thumbnail(np.zeros((10, 5, 3), np.uint8), 20).shape == (10, 5, 3)


def test_writing_and_listing(tmp_path):
    write_image(tmp_path / "a" / "one.png", COLOURS)
    write_image(tmp_path / "two.JPG", COLOURS)
    write_image(tmp_path / "m.png", GREY > 100)
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    np.testing.assert_array_equal(read_image(tmp_path / "a" / "one.png"), COLOURS)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", GREY.shape), GREY > 100)
    assert [path.name for path in list_images(tmp_path)] == ["m.png", "two.JPG"]
    assert [path.name for path in list_images(tmp_path, recursive=True)] == ["one.png", "m.png", "two.JPG"]
    with pytest.raises(InputError, match="no such folder"):
        list_images(tmp_path / "nowhere")
