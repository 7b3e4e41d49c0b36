"""The four losses of section 2.4.3: Jaccard, Tversky, focal, cross entropy.

The paper names them and no parameter; what it leaves open is one choice each, below.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.losses import FocalLoss, JaccardLoss, TverskyLoss
from torch import Tensor

from minseg.data.labels import IGNORE
from minseg.errors import MinsegError

LOSSES: tuple[str, ...] = ("jaccard", "tversky", "focal", "crossentropy")
"""Names of the losses, spelled as in section 2.4.3."""

Loss = Callable[[Tensor, Tensor], Tensor]

TVERSKY_ALPHA, TVERSKY_BETA = 0.3, 0.7
"""Weights of false positives and false negatives. The paper's reference (Salehi et al. 2017)
recommends these for small classes; with 0.5 and 0.5 the loss would be the Dice loss."""

FOCAL_GAMMA = 2.0
"""Focusing power, the value that the paper's reference (Lin et al. 2017) recommends. Their
class weight, 0.25 for the foreground, was set for object detection and is left out."""

_ABSENT_LOGIT = -1e4
"""Logit whose sigmoid is 0 exactly: a class that is neither there nor predicted."""


def build_loss(name: str, num_classes: int) -> Loss:
    """Make a loss by name.

    Ignored pixels change neither value nor gradient, and a batch without an annotated pixel gives
    0 with zero gradient. Pixels are masked rather than gathered: gathering waits for the device.

    *jaccard*, *tversky*: 1 - soft score of each class, over all pixels of the batch at once. A
    class without a pixel in the batch contributes 0, and the mean goes over all `num_classes`
    with the background, as in segmentation-models-pytorch.

    *focal*: each class against the rest by a sigmoid, mean over pixels and classes, as in Lin et
    al. and segmentation-models-pytorch. The network's logits are then no softmax logits, but
    their largest still names the class.

    *crossentropy*: softmax cross entropy, mean over pixels, no class weights.
    """
    losses: dict[str, Loss] = {
        "jaccard": JaccardLoss("multiclass", ignore_index=IGNORE),
        "tversky": TverskyLoss(
            "multiclass", ignore_index=IGNORE, alpha=TVERSKY_ALPHA, beta=TVERSKY_BETA
        ),
        "focal": _focal,
        "crossentropy": _cross_entropy,
    }
    if name not in losses:
        raise MinsegError(f"unknown loss {name!r}; use one of {', '.join(LOSSES)}")
    function = losses[name]

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        if logits.shape[1] != num_classes:
            raise ValueError(f"{logits.shape[1]} logits per pixel for {num_classes} classes")
        # Sums over a million pixels need float32, also where the network ran in half precision.
        return function(logits.float(), target.long())

    return loss


def _focal(logits: Tensor, target: Tensor) -> Tensor:
    """Mean focal loss of the annotated pixels."""
    annotated = target != IGNORE
    # smp's own ignore_index gathers the pixels once per class, and gives NaN when there are none.
    logits = torch.where(annotated.unsqueeze(1), logits, _ABSENT_LOGIT)
    total = FocalLoss("multiclass", gamma=FOCAL_GAMMA, reduction="sum")(logits, target)
    return total / annotated.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy of the annotated pixels."""
    total = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum")
    # torch's own mean is 0/0 when nothing is annotated.
    return total / (target != IGNORE).sum().clamp(min=1)
