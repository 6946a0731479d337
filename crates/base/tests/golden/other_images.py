"""Makes other_images/*: small files as other people have them, and other_images.safetensors: the grey values of those that are read.

Made with Python 3.11.7, numpy 2.4.6, Pillow 13.0.0, tifffile 2026.3.3, imagecodecs 2026.3.6, safetensors 0.8.0:
    python3 other_images.py
The expected values (float32 [1, 1, H, W], or [1, 1, D, H, W] of stacks, by file name) come from the arrays that were written, not
from reading the files again. Tolerance of the test: exact for grey, 1e-6 for colour, 1.5 / 255 for JPEG. Files whose name begins
with `refused` have no values.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from safetensors.numpy import save_file

rng = np.random.default_rng(11)
folder = Path(__file__).with_name("other_images")
folder.mkdir(exist_ok=True)
expected = {}
H, W = 9, 13


def luma(rgb):
    return rgb.astype(np.float64) @ [0.299, 0.587, 0.114]


def keep(name, values):
    values = np.asarray(values).astype(np.float32)
    expected[name] = values.reshape((1, 1) + values.shape)


def ints(dtype, *shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min + (info.min < 0), info.max, shape or (H, W), dtype=dtype, endpoint=True)


def tiff(name, values, **options):
    tifffile.imwrite(folder / name, values, metadata=None, software=False, **options)


# White is 0: integers are inverted, floats come as stored.
for kind in ("u1", "u2", "u4"):
    values = ints(kind)
    tiff(f"white_is_zero_{kind}.tif", values, photometric="miniswhite")
    keep(f"white_is_zero_{kind}.tif", (np.iinfo(kind).max - values) / np.iinfo(kind).max)
for kind in ("f2", "f4", "f8"):
    values = (400 * rng.standard_normal((H, W))).astype(kind)
    tiff(f"white_is_zero_{kind}.tif", values, photometric="miniswhite")
    keep(f"white_is_zero_{kind}.tif", values)
tiff("refused_white_is_zero_i2.tif", ints("i2"), photometric="miniswhite")

# Samples that follow those of colour, any predictor, strips and tiles, any compression.
for pieces, options in (("strips", {"rowsperstrip": 4}), ("tiles", {"tile": (16, 16)})):
    for codec in ("none", "zlib", "lzw", "zstd", "packbits"):
        for kind in ("u1", "u2"):
            for extra in (1, 2):
                predictor = 2 if codec in ("zlib", "lzw", "zstd") else None
                values = ints(kind, 20, 19, 3 + extra)
                name = f"rgbx{extra}_{kind}_{pieces}_{codec}.tif"
                codec_ = None if codec == "none" else codec
                samples = ["unspecified"] * extra
                tiff(name, values, photometric="rgb", extrasamples=samples, compression=codec_, predictor=predictor, **options)
                keep(name, luma(values[..., :3]) / np.iinfo(kind).max)
values = rng.random((20, 19, 4)).astype("f4")
tiff("rgbx1_f4_zlib_predictor3.tif", values, photometric="rgb", extrasamples=["unspecified"], compression="zlib", predictor=3, tile=(16, 16))
keep("rgbx1_f4_zlib_predictor3.tif", luma(values[..., :3]))
values = ints("u2", H, W, 4)
tiff("rgba_u2_big_endian_predictor.tif", values, photometric="rgb", extrasamples=["unassalpha"], compression="zlib", predictor=2, byteorder=">")
keep("rgba_u2_big_endian_predictor.tif", luma(values[..., :3]) / 65535)

# Grey with alpha.
for kind in ("u1", "u2", "f4"):
    values = ints(kind, H, W, 2) if kind != "f4" else rng.random((H, W, 2)).astype("f4")
    for alpha in ("unassalpha", "assocalpha"):
        name = f"grey_{alpha}_{kind}.tif"
        tiff(name, values, photometric="minisblack", planarconfig="contig", extrasamples=[alpha])
        keep(name, values[..., 0] / (np.iinfo(kind).max if kind != "f4" else 1))
tiff("refused_two_samples.tif", ints("u1", H, W, 2), photometric="minisblack", planarconfig="contig", extrasamples=["unspecified"])
tiff("refused_bands.tif", ints("u1", H, W, 5), photometric="minisblack", planarconfig="contig")

# Separate planes.
for kind in ("u1", "u2", "f4"):
    values = ints(kind, 3, 32, 19) if kind != "f4" else rng.random((3, 32, 19)).astype("f4")
    grey = luma(np.moveaxis(values, 0, -1)) / (np.iinfo(kind).max if kind != "f4" else 1)
    predictor = 3 if kind == "f4" else 2
    for pieces, options in (("strips", {"rowsperstrip": 5}), ("tiles", {"tile": (16, 16)})):
        name = f"planes_{kind}_{pieces}.tif"
        tiff(name, values, photometric="rgb", planarconfig="separate", compression="zlib", predictor=predictor, **options)
        keep(name, grey)
tiff("refused_planes_in_tiles.tif", ints("u1", 3, 20, 19), photometric="rgb", planarconfig="separate", tile=(16, 16))

# Palettes, few bits.
index = rng.integers(0, 256, (H, W), dtype="u1")
palette = ints("u2", 3, 256)
tiff("palette_u1.tif", index, photometric="palette", colormap=palette)
keep("palette_u1.tif", luma(np.moveaxis(palette[:, index], 0, -1)) / 65535)
small = ints("u1", 3, 256).astype("u2")
tiff("palette_of_8_bits.tif", index, photometric="palette", colormap=small, compression="zlib")
keep("palette_of_8_bits.tif", luma(np.moveaxis(small[:, index], 0, -1)) / 255)
bits = rng.integers(0, 2, (H, W)).astype(bool)
tiff("bilevel.tif", bits, photometric="minisblack")
keep("bilevel.tif", bits)
tiff("bilevel_white_is_zero.tif", bits, photometric="miniswhite", compression="packbits")
keep("bilevel_white_is_zero.tif", ~bits)
Image.fromarray(bits).save(folder / "group4.tif", compression="group4")
keep("group4.tif", bits)
for n in (2, 4):
    values = rng.integers(0, 1 << n, (H, W), dtype="u1")
    tiff(f"bits{n}.tif", values, photometric="minisblack", bitspersample=n)
    keep(f"bits{n}.tif", values / ((1 << n) - 1))
tiff("refused_bits12.tif", rng.integers(0, 4096, (H, W), dtype="u2"), photometric="minisblack", bitspersample=12)

# Types, byte orders, compressions.
for kind in ("i1", "i4", "i8", "u8"):
    values = ints(kind)
    tiff(f"{kind}.tif", values)
    keep(f"{kind}.tif", values.astype("f8") / float(np.iinfo(kind).max))
for kind in ("u2", "i4", "f4", "f8"):
    values = ints(kind) if kind[0] != "f" else rng.standard_normal((H, W)).astype(kind)
    tiff(f"{kind}_big_endian.tif", values, byteorder=">", compression="lzw", predictor=3 if kind[0] == "f" else 2)
    keep(f"{kind}_big_endian.tif", values.astype("f8") / (np.iinfo(kind).max if kind[0] != "f" else 1))
values = ints("u2", 40, 23)
for codec in ("zstd", "lzw", "packbits", "zlib"):
    tiff(f"u2_{codec}_big.tif", values, compression=codec, bigtiff=True, rowsperstrip=7)
    keep(f"u2_{codec}_big.tif", values / 65535)
smooth = (40 + 3 * np.arange(32)[:, None] + 2 * np.arange(24)).astype("u1")
tiff("jpeg_grey.tif", smooth, compression="jpeg", compressionargs={"level": 95})
keep("jpeg_grey.tif", smooth / 255)
colour = np.stack([smooth, 255 - smooth, np.full_like(smooth, 80)], -1)
tiff("jpeg_of_rgb.tif", colour, photometric="rgb", compression="jpeg", compressionargs={"level": 95}, tile=(16, 16))
keep("jpeg_of_rgb.tif", luma(colour) / 255)
options = {"level": 95, "outcolorspace": "rgb"}
tiff("jpeg_rgb.tif", colour, photometric="rgb", compression="jpeg", compressionargs=options, rowsperstrip=16)
keep("jpeg_rgb.tif", luma(colour) / 255)
tiff("jpeg_ycbcr.tif", colour, photometric="ycbcr", compression="jpeg", compressionargs={"level": 95}, tile=(16, 16))
keep("jpeg_ycbcr.tif", smooth / 255)
tiff("refused_complex.tif", rng.random((H, W)).astype("c8"))
tiff("refused_cmyk.tif", ints("u1", H, W, 4), photometric="separated")
tiff("refused_lab.tif", ints("u1", H, W, 3), photometric="cielab")
tiff("refused_lzma.tif", ints("u1"), compression="lzma")
tiff("refused_fill_order.tif", ints("u1"), extratags=[(65000, "H", 1, 2, True)])
path = folder / "refused_fill_order.tif"
path.write_bytes(path.read_bytes().replace(struct.pack("<HH", 65000, 3), struct.pack("<HH", 266, 3)))

# Turned by its tag, which is ignored.
values = ints("u1")
tiff("orientation.tif", values, extratags=[(274, "H", 1, 6, True)])
keep("orientation.tif", values / 255)

# Stacks: pages, and as ImageJ writes them: one page with as many pixels behind it.
stack = ints("u2", 4, H, W)
tiff("stack_pages.tif", stack, photometric="minisblack")
keep("stack_pages.tif", stack / 65535)
floats = rng.standard_normal((4, H, W)).astype("f4")
for name, values in (("stack_imagej_u2.tif", stack), ("stack_imagej_f4.tif", floats)):
    tifffile.imwrite(folder / name, values, imagej=True, truncate=True, metadata={"axes": "ZYX"}, software=False)
    keep(name, values / (65535 if values is stack else 1))
with tifffile.TiffWriter(folder / "refused_pages_of_two_sizes.tif") as file:
    for values in (ints("u1"), ints("u1", H, W + 1)):
        file.write(values, photometric="minisblack", metadata=None, software=False)


# PNG, chunk by chunk.
def png(name, rows, bits, colour, before=(), interlace=0):
    """rows: lists of the bytes of the rows of every pass."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", W, H, bits, colour, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    parts = [chunk(b"IHDR", head), *(chunk(*extra) for extra in before), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
values = ints("u2").astype(">u2")
passes = [values[r::dr, c::dc] for r, c, dr, dc in ADAM7]
png("interlaced16.png", [row.tobytes() for part in passes if part.size for row in part], 16, 0, interlace=1)
keep("interlaced16.png", values / 65535)
grey = ints("u1")
png("transparent_grey.png", [row.tobytes() for row in grey], 8, 0, [(b"tRNS", struct.pack(">H", int(grey[0, 0])))])
keep("transparent_grey.png", grey / 255)
png("gamma.png", [row.tobytes() for row in grey], 8, 0, [(b"gAMA", struct.pack(">I", 45455)), (b"sBIT", b"\5")])
keep("gamma.png", grey / 255)
index = rng.integers(0, 4, (H, W), dtype="u1")
packed = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 6:].ravel()).tobytes() for row in index]
colours = ints("u1", 4, 3)
png("palette2.png", packed, 2, 3, [(b"PLTE", colours.tobytes()), (b"tRNS", b"\0\x80")])
keep("palette2.png", luma(colours[index]) / 255)
packed = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 6:].ravel()).tobytes() for row in index]
png("bits2.png", packed, 2, 0)
keep("bits2.png", index / 3)
rgb = ints("u2", H, W, 3).astype(">u2")
png("rgb16.png", [row.tobytes() for row in rgb], 16, 2)
keep("rgb16.png", luma(rgb) / 65535)
camera = rng.integers(0, 4096, (H, W)).astype(">u2")
camera[3, 4] = 4095
png("camera12.png", [row.tobytes() for row in camera], 16, 0)
keep("camera12.png", camera / 65535)

save_file(expected, folder.with_name("other_images.safetensors"))
