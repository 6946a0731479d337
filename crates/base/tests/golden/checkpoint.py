"""Makes checkpoint.safetensors: all dtypes that a checkpoint keeps, written by the Python library.

Made with Python 3.11.7, torch 2.11.0, safetensors 0.8.0:
    python3 checkpoint.py
The test knows the values by their formulas and compares exactly.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

tensors = {
    "f64": torch.arange(6, dtype=torch.float64).reshape(2, 3) / 7,
    "f32": torch.arange(4, dtype=torch.float32) / 8,
    "bf16": torch.arange(5).to(torch.bfloat16) / 4,
    "i64": torch.tensor(-(2**60)),
    "u8": torch.tensor([0, 255], dtype=torch.uint8),
    "bool": torch.tensor([[True, False, True]]),
    "empty": torch.zeros(0, 3),
}
metadata = {"format": "1", "smalti_version": "0.0.1", "patch_size": "6", "clamp": "1.9"}
save_file(tensors, Path(__file__).with_name("checkpoint.safetensors"), metadata)
