"""Makes other_arrays/*.npz and *.pth: arrays of every kind that numpy writes, and archives that announce more than they hold.

Made with Python 3.11.7, numpy 2.4.6:
    python3 other_arrays.py
Arrays are a[i, j] = (5 i + j) / 8 of 3 x 5, which the test computes again. The .pth files are written here byte by byte as torch
writes them.
"""

import struct
import zipfile
from pathlib import Path

import numpy as np

folder = Path(__file__).with_name("other_arrays")
folder.mkdir(exist_ok=True)
a = (np.arange(15).reshape(3, 5) / 8).astype("f4")

np.savez(
    folder / "kinds.npz",
    plain=a,
    fortran=np.asfortranarray(a),
    big_endian=a.astype(">f8"),
    scalar=np.float32(0.5),
    empty=np.zeros((0, 5), "f4"),
    whole=np.arange(3),
    bool=np.ones(3, bool),
    half=a.astype("f2"),
    complex=a.astype("c8"),
    text=np.array(["a", "b"]),
    object=np.array([None, {}], dtype=object),
)


def npz(name, head, data=b"", version=1, **options):
    """An archive of one array `a` with any head."""
    text = head.encode("latin1")
    length = options.get("length", len(text))
    magic = b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", length)
    with zipfile.ZipFile(folder / name, "w", options.get("compression", zipfile.ZIP_STORED)) as file:
        entry = zipfile.ZipInfo("a.npy", (1980, 1, 1, 0, 0, 0))
        entry.compress_type = options.get("compression", zipfile.ZIP_STORED)
        file.writestr(entry, magic + text + data)


def head(shape):
    return f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n"


npz("refused_shape.npz", head("(1099511627776,)"), bytes(64))
npz("refused_overflow.npz", head("(4294967296, 4294967296, 4294967296)"), bytes(64))
npz("refused_long_head.npz", head("(2,)"), bytes(8), version=2, length=0xFFFFFFF0)
npz("refused_deep_head.npz", "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 4000 + ")" * 4000 + "}\n")
npz("refused_short.npz", head("(20,)"), bytes(40))
npz("deflated.npz", head("(100000,)"), bytes(400000), compression=zipfile.ZIP_DEFLATED)


def pth(name, size, stride, stored, data, compression=zipfile.ZIP_STORED):
    """A state dict of the float32 tensor `a` as torch.save writes it; written by hand, since torch's classes are not there."""
    out = bytearray(b"\x80\x02}X\x01\x00\x00\x00a")
    out += b"ctorch._utils\n_rebuild_tensor_v2\n(("
    out += b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"

    def number(n):
        return b"\x8a" + bytes([9]) + n.to_bytes(9, "little", signed=True)

    out += number(stored) + b"tQ" + number(0)
    for numbers in (size, stride):
        out += b"(" + b"".join(number(n) for n in numbers) + b"t"
    out += b"\x89ccollections\nOrderedDict\n)RtRs."
    with zipfile.ZipFile(folder / name, "w", compression) as file:
        for entry, content in (("m/data.pkl", bytes(out)), ("m/data/0", data), ("m/version", b"3\n")):
            info = zipfile.ZipInfo(entry, (1980, 1, 1, 0, 0, 0))
            info.compress_type = compression
            file.writestr(info, content)


pth("plain.pth", (3, 5), (5, 1), 15, a.tobytes())
pth("transposed.pth", (5, 3), (1, 5), 15, a.tobytes())
pth("refused_expanded.pth", (1 << 31, 1), (0, 1), 15, a.tobytes())
pth("refused_storage.pth", (1 << 20, 1 << 8), (1 << 8, 1), 1 << 28, a.tobytes())
