"""Makes images/*: small files of every kind that is read, and images.safetensors: their grey values.

Made with Python 3.11.7, numpy 2.4.6, Pillow 13.0.0, tifffile 2026.3.3, safetensors 0.8.0:
    python3 images.py
The expected values (float32 [1, 1, H, W], by file name) come from the arrays that were written, not from reading
the files again. Tolerance of the test: exact for grey, 1e-6 for colour.
"""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from safetensors.numpy import save_file

rng = np.random.default_rng(7)
folder = Path(__file__).with_name("images")
folder.mkdir(exist_ok=True)
expected = {}
H, W = 9, 13


def luma(rgb):
    return rgb.astype(np.float64) @ [0.299, 0.587, 0.114]


def keep(name, values):
    expected[name] = values.astype(np.float32)[None, None]


def ints(dtype, *shape):
    return rng.integers(0, np.iinfo(dtype).max, shape or (H, W), dtype=dtype, endpoint=True)


# PNG
grey = ints(np.uint8)
Image.fromarray(grey).save(folder / "grey8.png")
keep("grey8.png", grey / 255)
grey = ints(np.uint16)
Image.fromarray(grey).save(folder / "grey16.png")
keep("grey16.png", grey / 65535)
rgb = ints(np.uint8, H, W, 3)
Image.fromarray(rgb).save(folder / "rgb8.png")
keep("rgb8.png", luma(rgb) / 255)
rgba = ints(np.uint8, H, W, 4)
Image.fromarray(rgba).save(folder / "rgba8.png")
keep("rgba8.png", luma(rgba[..., :3]) / 255)
la = ints(np.uint8, H, W, 2)
Image.fromarray(la, "LA").save(folder / "grey_alpha8.png")
keep("grey_alpha8.png", la[..., 0] / 255)
index = rng.integers(0, 5, (H, W), dtype=np.uint8)
palette = ints(np.uint8, 5, 3)
image = Image.fromarray(index, "P")
image.putpalette(palette.tobytes())
image.save(folder / "palette.png")
keep("palette.png", luma(palette[index]) / 255)
bits = rng.integers(0, 2, (H, W), dtype=np.uint8)
Image.fromarray(bits * 255).convert("1", dither=Image.Dither.NONE).save(folder / "bilevel.png")
keep("bilevel.png", bits)

# TIFF
for dtype in (np.uint8, np.uint16, np.uint32):
    name = f"{np.dtype(dtype).name}.tif"
    values = ints(dtype)
    tifffile.imwrite(folder / name, values)
    keep(name, values / float(np.iinfo(dtype).max))
values = rng.integers(-32767, 32767, (H, W), dtype=np.int16, endpoint=True)
tifffile.imwrite(folder / "int16.tif", values)
keep("int16.tif", values / 32767)
for dtype in (np.float16, np.float32, np.float64):
    name = f"{np.dtype(dtype).name}.tif"
    values = (3 * rng.standard_normal((H, W))).astype(dtype)
    tifffile.imwrite(folder / name, values)
    keep(name, values)
pages = rng.random((3, H, W)).astype(np.float32)
tifffile.imwrite(folder / "pages.tif", pages, photometric="minisblack")
keep("pages.tif", pages[0])
values = rng.random((H, W)).astype(np.float32)
tifffile.imwrite(folder / "big_endian_bigtiff.tif", values, bigtiff=True, byteorder=">")
keep("big_endian_bigtiff.tif", values)
values = ints(np.uint16)
tifffile.imwrite(folder / "zlib_predictor.tif", values, compression="zlib", predictor=True)
keep("zlib_predictor.tif", values / 65535)
values = rng.random((40, 23)).astype(np.float32)
tifffile.imwrite(folder / "tiled.tif", values, tile=(16, 16), compression="zlib")
keep("tiled.tif", values)
rgb = ints(np.uint8, H, W, 3)
tifffile.imwrite(folder / "rgb8.tif", rgb, photometric="rgb")
keep("rgb8.tif", luma(rgb) / 255)
rgb = ints(np.uint8, 3, H, W)
tifffile.imwrite(folder / "planar.tif", rgb, photometric="rgb", planarconfig="separate")
keep("planar.tif", luma(np.moveaxis(rgb, 0, -1)) / 255)
tifffile.imwrite(folder / "refused_bands.tif", ints(np.uint8, H, W, 5), photometric="minisblack", planarconfig="contig")
values = rng.random((H, W)).astype(np.float32)
values[2, 5] = np.nan
values[4, 1] = np.inf
tifffile.imwrite(folder / "refused_nan.tif", values)

save_file(expected, folder.with_name("images.safetensors"))
