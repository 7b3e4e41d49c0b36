"""Which number format a network computes in on this machine."""

from typing import Literal

import torch

Precision = Literal["bf16-mixed", "32-true"]
"""A number format that a network can compute in."""

_BFLOAT16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")
"""Names under which torch lists what a processor of x86 or ARM multiplies bfloat16 with."""


def resolve_precision(precision: Precision | Literal["auto"]) -> Precision:
    """Return the format that a setting stands for on the device that networks run on here.

    Processors without instructions for bfloat16 emulate it, and take half as long again as with
    float32; those with them, and graphics cards, are two to six times faster in it.

    Parameters
    ----------
    precision : {"auto", "bf16-mixed", "32-true"}

    Returns
    -------
    {"bf16-mixed", "32-true"}
    """
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name) for name in _BFLOAT16_INSTRUCTIONS)
    return "bf16-mixed" if native else "32-true"
