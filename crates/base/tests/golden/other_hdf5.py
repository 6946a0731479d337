"""Makes other_hdf5/*.h5: small files as other people have them: filters, links, layouts and types that are read, or refused by name.

Made with Python 3.11.7, h5py 3.16.0, hdf5plugin 7.1.0, numpy 2.4.6:
    python3 other_hdf5.py
Images are v(k)[i, j] = (7 i + 3 j + k) / 64 as in hdf5.py, which the test computes again; integers are 64 v(k).
"""

from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

folder = Path(__file__).with_name("other_hdf5")
folder.mkdir(exist_ok=True)
H, W = 8, 6


def v(k, h=H, w=W):
    return (7 * np.arange(h)[:, None] + 3 * np.arange(w) + k) / 64


images = np.stack([v(k) for k in range(4)])
floats, whole = images.astype("f4"), np.round(64 * images).astype("u2")
chunks = {"chunks": (2, 4, 3)}

# Read.
with h5py.File(folder / "read.h5", "w", libver="latest") as f:
    f.create_dataset("shuffle", data=floats, compression="gzip", shuffle=True, fletcher32=True, **chunks)
    f.create_dataset("lz4", data=floats, **chunks, **hdf5plugin.LZ4())
    f.create_dataset("scaleoffset", data=whole, scaleoffset=0, **chunks)
    f.create_dataset("big_endian", data=floats.astype(">f8"))
    f.create_dataset("growing", data=floats, maxshape=(None, None, None), **chunks)
    f.create_dataset("compact", data=floats[0])
    f["soft"] = h5py.SoftLink("/compact")
    f.create_dataset("camera", data=np.where(whole == whole.max(), 4095, whole).astype("u2"))
    if h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP) and h5py.h5z.get_filter_info(h5py.h5z.FILTER_SZIP) & 1:
        f.create_dataset("szip", data=whole, compression="szip", **chunks)

# Refused by name. Chunks that do not become shorter are stored without the filter, and read.
flat, large = np.zeros((4, 16, 16), "f4"), {"chunks": (2, 16, 16)}
with h5py.File(folder / "refused.h5", "w", libver="latest") as f:
    f.create_dataset("lzf", data=flat, compression="lzf", **large)
    f.create_dataset("blosc", data=flat, **large, **hdf5plugin.Blosc())
    f.create_dataset("blosc2", data=flat, **large, **hdf5plugin.Blosc2())
    f.create_dataset("bitshuffle", data=flat, **large, **hdf5plugin.Bitshuffle())
    f.create_dataset("zstd", data=flat, **large, **hdf5plugin.Zstd())
    f.create_dataset("hwc", data=np.zeros((9, 8, 3), "f4"))
    f.create_dataset("hw1", data=np.zeros((9, 8, 1), "f4"))
    f.create_dataset("nhwc", data=np.zeros((2, 9, 8, 3), "f4"))
    f.create_dataset("scalar", data=np.float32(3))
    f.create_dataset("compound", data=np.zeros((4, 5), [("re", "f4"), ("im", "f4")]))
    f.create_dataset("complex", data=np.zeros((4, 5), "c8"))
    f.create_dataset("bool", data=np.zeros((4, 5), bool))
    f.create_dataset("half", data=np.zeros((4, 5), "f2"))
    f.create_dataset("text", data=["a", "b"], dtype=h5py.string_dtype())
    ragged = f.create_dataset("ragged", (2, 3), dtype=h5py.vlen_dtype("f4"))
    ragged[0, 0] = [1, 2]
    f.create_dataset("empty_space", data=h5py.Empty("f4"))
    # Announces 4 PB, and holds nothing.
    f.create_dataset("sparse", (1 << 20, 1 << 15, 1 << 15), "f4", chunks=(1, 64, 64))
    f.create_dataset("holes", data=np.where(whole[0] % 5 == 0, np.nan, floats[0]))
with h5py.File(folder / "virtual.h5", "w", libver="latest") as f:
    layout = h5py.VirtualLayout((2, H, W), "f4")
    for k in range(2):
        layout[k] = h5py.VirtualSource("read.h5", "compact", (H, W))
    f.create_virtual_dataset("virtual", layout)

# Links to other files.
with h5py.File(folder / "links.h5", "w") as f:
    f["a"] = h5py.ExternalLink("read.h5", "/compact")
    f["b"] = floats[1]
with h5py.File(folder / "links_missing.h5", "w") as f:
    f["a"] = h5py.ExternalLink("nowhere.h5", "/compact")
    f["b"] = floats[1]
with h5py.File(folder / "links_absolute.h5", "w") as f:
    f["a"] = h5py.ExternalLink("/nowhere/read.h5", "/compact")
with h5py.File(folder / "external_data.h5", "w") as f:
    d = f.create_dataset("a", (H, W), "f4", external=[("external_data.raw", 0, 4 * H * W)])
(folder / "external_data.raw").write_bytes(floats[2].tobytes())
