import pytest
import torch

from minseg.learning.precision import resolve_precision


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_named_precision_stays(precision):
    assert resolve_precision(precision) == precision


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks the processor only without a GPU")
@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "32-true"),
        ({"avx512_f": True, "avx512_bf16": True}, "bf16-mixed"),
        ({"amx_bf16": True}, "bf16-mixed"),
        ({"architecture": "aarch64", "bf16": True}, "bf16-mixed"),
        ({}, "32-true"),
    ],
)
def test_automatic_precision_follows_the_processor(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision("auto") == expected
