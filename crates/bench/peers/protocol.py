"""What all peers have in common: arguments, inputs, and the protocol.

    python SCRIPT.py INPUTS THREADS [ARGUMENT...]

INPUTS is a safetensors file. The script loads it, does run 0 to warm up, and writes one line of JSON,
{"ready": "the versions of what it stands on"}. Then it does runs 1, 2, ..., one for every line "run" of standard
input, and answers each with {"seconds": ..., "values": {"name": ...}}. It ends when standard input does, also in
the middle of a run, so that it never outlives the program that started it.
"""

import importlib.metadata
import json
import os
import queue
import struct
import sys
import threading
import time

import torch

DTYPES = {"F64": torch.float64, "F32": torch.float32, "I64": torch.int64}
VERSIONS = {
    "torch": "2.11.0",
    "FrEIA": "0.2",
    "POT": "0.9.7.post1",
    "pykeops": "2.3",
    "astra-toolbox": "2.5.0",
    "deepinv": "0.5.0",
}


def start():
    """The tensors and the metadata of INPUTS, and the arguments after THREADS."""
    torch.set_num_threads(int(sys.argv[2]))
    return *read_safetensors(sys.argv[1]), sys.argv[3:]


def read_safetensors(path):
    """Tensors and metadata by name."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    metadata = header.pop("__metadata__", {})

    def tensor(entry):
        begin, end = entry["data_offsets"]
        flat = torch.frombuffer(data[begin:end], dtype=DTYPES[entry["dtype"]])
        return flat.reshape(entry["shape"])

    return {name: tensor(entry) for name, entry in header.items()}, metadata


def serve(work, values, steps=1, packages=("torch", "FrEIA")):
    """Answers on standard output. `work(k)` is run k, all that is timed; `values` makes a dict of numbers of its
    result; the time is that of one of the `steps` steps of a run; `packages` are those that the work stands on."""
    answers, sys.stdout = sys.stdout, sys.stderr
    lines = queue.Queue()

    def listen():
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    def answer(content):
        print(json.dumps(content), file=answers, flush=True)

    threading.Thread(target=listen, daemon=True).start()
    values(work(0))
    answer({"ready": ", ".join(f"{name} {checked(name)}" for name in packages)})
    run = 0
    while True:
        line = lines.get().strip()
        if line != "run":
            sys.exit(f"expected the line run, got {line!r}")
        run += 1
        begin = time.perf_counter()
        result = work(run)
        seconds = (time.perf_counter() - begin) / steps
        answer({"seconds": seconds, "values": values(result)})


def checked(name):
    """The version of a package, which must be the one that the comparison is about."""
    version = torch.__version__ if name == "torch" else importlib.metadata.version(name)
    if version.split("+")[0] != VERSIONS[name]:
        sys.exit(f"needs {name} {VERSIONS[name]}, found {version}")
    return version
