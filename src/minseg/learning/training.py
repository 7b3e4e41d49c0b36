"""One visible training loop on Lightning Fabric, with a checkpoint to resume from exactly.

Of the losses of section 2.4.3 the paper names no parameter; what it leaves open is one choice each.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from segmentation_models_pytorch.losses import FocalLoss, JaccardLoss, TverskyLoss
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from minseg.atomic import replace_when_done, write_text
from minseg.data.labels import IGNORE, Task
from minseg.errors import MinsegError
from minseg.learning.options import TrainingOptions
from minseg.learning.patches import TrainingPatches
from minseg.progress import progress
from minseg.scoring.metrics import scores

LOG = logging.getLogger(__name__)
"""Gets a line an epoch where no progress bar shows; `minseg train` prints it."""

CHECKPOINT_EVERY_S = 30.0
"""Seconds of work that an interruption may cost at most, beside the epoch under way."""

TVERSKY_ALPHA, TVERSKY_BETA = 0.3, 0.7
"""Weights of false positives and false negatives. The paper's reference (Salehi et al. 2017)
recommends these for small classes; with 0.5 and 0.5 the loss would be the Dice loss."""

FOCAL_GAMMA = 2.0
"""Focusing power, the value that the paper's reference (Lin et al. 2017) recommends. Their
class weight, 0.25 for the foreground, was set for object detection and is left out."""

_ABSENT_LOGIT = -1e4
"""Logit whose sigmoid is 0 exactly: a class that is neither there nor predicted."""

HISTORY_COLUMNS = ["epoch", "train_loss", "validation_iou", "learning_rate", "seconds"]

AfterEpoch = Callable[[int, float, dict[str, Tensor]], None]


def train(
    network: nn.Module,
    patches: TrainingPatches,
    validate: Callable[[nn.Module], np.ndarray],
    options: TrainingOptions,
    checkpoint: Path,
    fabric: Fabric,
    after_epoch: AfterEpoch | None = None,
) -> pd.DataFrame:
    """Train a network (section 2.4), going on from the checkpoint if there is one.

    All randomness follows from the seed and the epoch's number, so an interrupted training
    continues with exactly the steps it would have made.

    The network ends with the weights that ``options.checkpoint`` asks for. `validate` returns
    counts (scenes, num_classes, 4) of the validation part. `after_epoch` gets the number of the
    finished epoch (from 1), its validation IoU, and the weights that would be kept if training
    ended there; it may end the training by raising. A row of the result is an epoch
    (`HISTORY_COLUMNS`, IoU under the `standard` convention); while the training goes on, the rows
    so far lie in `history.csv` beside the checkpoint.
    """
    network.to(memory_format=torch.channels_last)
    optimiser = build_optimiser(network, options)
    weights = patches.class_weights() if options.class_weights == "balanced" else None
    loss_function = build_loss(options.loss, patches.task, weights)
    state = _State(network, optimiser)
    if checkpoint.exists():
        try:
            state.load(checkpoint)
        except (SafetensorError, TypeError, KeyError, ValueError):
            checkpoint.unlink(missing_ok=True)  # damaged, as by a power cut: from the beginning
    model, optimiser = fabric.setup(network, optimiser)
    bar: tqdm = progress((), "training", total=options.epochs * len(patches))
    bar.update(state.epoch * len(patches))
    saved = time.monotonic()
    for epoch in range(state.epoch, options.epochs):
        started = time.monotonic()
        torch.manual_seed(hash((options.seed, epoch)))  # dropout; hash of integers is stable
        model.train()
        if options.encoder_rate == 0:
            network.get_submodule("encoder").eval()  # its running statistics stay, too
        total_loss = torch.zeros((), device=fabric.device)
        for step, (inputs, target) in enumerate(patches.batches(epoch)):
            rate = learning_rate(options, epoch * len(patches) + step, len(patches))
            for group in optimiser.param_groups:
                group["lr"] = rate * group.get("share", 1)
            optimiser.zero_grad()
            loss = loss_function(model(inputs), target)  # logits (batch, num_classes, h, w)
            fabric.backward(loss)
            optimiser.step()
            total_loss += loss.detach()
            bar.update()
        mean_loss = float(total_loss) / len(patches)
        if not math.isfinite(mean_loss):
            raise MinsegError(
                f"epoch {epoch + 1}: the training loss is {mean_loss}; "
                "lower the learning rate, e.g. --set learning_rate=1e-4"
            )
        # Of several devices each has batch statistics of its own; all must end at once.
        iou = fabric.broadcast(scores(validate(network))["iou"])
        bar.set_postfix(epoch=epoch + 1, loss=f"{mean_loss:.3f}", validation_iou=f"{iou:.3f}")
        seconds = time.monotonic() - started
        state.end_epoch([epoch + 1, mean_loss, iou, rate, seconds], options)
        if fabric.is_global_zero:
            write_text(checkpoint.with_name("history.csv"), state.table().to_csv(index=False))
        if bar.disable:
            told = (epoch + 1, options.epochs, mean_loss, iou, seconds)
            LOG.info("epoch %d of %d: loss %.4g, validation IoU %.3f, %.1f s", *told)
        if after_epoch is not None:
            after_epoch(epoch + 1, iou, state.kept)
        if options.is_over(state.ious):
            break
        if time.monotonic() - saved > CHECKPOINT_EVERY_S:
            if fabric.is_global_zero:
                state.save(checkpoint)
            saved = time.monotonic()
    bar.close()
    network.load_state_dict(state.kept)
    return state.table()


def build_loss(
    name: str, task: Task, weights: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """Make a loss of logits (batch, outputs, h, w) and a task's targets (batch, h, w) by name.

    Ignored pixels change neither value nor gradient, and a batch without an annotated pixel gives
    0 with zero gradient. Pixels are masked rather than gathered: gathering waits for the device.

    *jaccard*, *tversky*: 1 - soft score of each class, over all pixels of the batch at once. A
    class without a pixel in the batch contributes 0, and the mean goes over all classes with the
    background, as in segmentation-models-pytorch.

    *focal*: each class against the rest by a sigmoid, mean over pixels and classes, as in Lin et
    al. and segmentation-models-pytorch. The network's logits are then no softmax logits, but
    their largest still names the class.

    *crossentropy*: softmax cross entropy, mean over pixels.

    With `weights` (classes,), the mean of the last two is by the weight of each pixel's true class.

    Overlapping classes have no background; each is held against its absence by a sigmoid.
    *jaccard* and *tversky* are the mean over the classes and their absences: the scores of the
    classes alone would let one grow unpunished where the batch lacks it, which a softmax does not.
    *focal* is the same, *crossentropy* the binary one, mean over pixels and classes.
    """
    if task.overlapping:
        return _overlapping_loss(name, task)
    function = {
        "jaccard": JaccardLoss("multiclass", ignore_index=IGNORE),
        "tversky": TverskyLoss(
            "multiclass", ignore_index=IGNORE, alpha=TVERSKY_ALPHA, beta=TVERSKY_BETA
        ),
        "focal": partial(_focal, weights=weights),
        "crossentropy": partial(_cross_entropy, weights=weights),
    }[name]
    # Sums over a million pixels need float32, also where the network ran in half precision.
    return lambda logits, target: function(logits.float(), target.long())


def _overlapping_loss(name: str, task: Task) -> Callable[[Tensor, Tensor], Tensor]:
    """Make a loss of overlapping classes; ignored pixels add 0 to every sum."""
    bits = torch.tensor([task.value(name) for name in task.output_names])[:, None, None]
    of_regions = {"jaccard": (1, 1), "tversky": (TVERSKY_ALPHA, TVERSKY_BETA)}
    of_pixels = {
        "focal": FocalLoss("binary", gamma=FOCAL_GAMMA, reduction="sum"),
        "crossentropy": nn.BCEWithLogitsLoss(reduction="sum"),
    }

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        annotated = (target != task.ignore).unsqueeze(1)  # (batch, 1, h, w)
        truth = annotated & ((target.unsqueeze(1) & bits.to(target.device)) > 0)
        if name in of_regions:
            there = logits.float().sigmoid() * annotated  # (batch, classes, h, w)
            return _region_loss(there, truth, annotated.sum(), *of_regions[name])
        logits = torch.where(annotated, logits.float(), _ABSENT_LOGIT)
        total = of_pixels[name](logits, truth.float())
        return total / (annotated.sum().clamp(min=1) * len(bits))

    return loss


def _region_loss(there: Tensor, truth: Tensor, pixels: Tensor, alpha: float, beta: float) -> Tensor:
    """Mean soft Tversky loss of classes and their absences, each of them 0 where truth lacks it.

    smp's own loss would need probabilities and truth of both, twice the memory and time; here the
    sums of the absences follow from those of the classes.
    """
    over_pixels = (0, 2, 3)
    both = (there * truth).sum(over_pixels)
    seen, true = there.sum(over_pixels), truth.sum(over_pixels)
    both = torch.cat([both, pixels - seen - true + both])  # (2 · classes,)
    seen, true = torch.cat([seen, pixels - seen]), torch.cat([true, pixels - true])
    score = both / (both + alpha * (seen - both) + beta * (true - both)).clamp(min=1e-7)
    return ((1 - score) * (true > 0)).mean()


def _focal(logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """Mean focal loss of the annotated pixels."""
    total = FocalLoss("multiclass", gamma=FOCAL_GAMMA, reduction="sum")

    def total_where(chosen: Tensor) -> Tensor:
        # smp's own ignore_index gathers the pixels once per class, and gives NaN where none are.
        kept = torch.where(chosen.unsqueeze(1), logits, _ABSENT_LOGIT)
        return total(kept, torch.where(chosen, target, IGNORE))

    if weights is None:
        return total_where(target != IGNORE) / _weight(target)
    parts = (weight * total_where(target == number) for number, weight in enumerate(weights))
    return sum(parts) / _weight(target, weights)


def _cross_entropy(logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """Mean cross entropy of the annotated pixels."""
    total = functional.cross_entropy(logits, target, weights, ignore_index=IGNORE, reduction="sum")
    return total / _weight(target, weights)  # torch's own mean is 0/0 when nothing is annotated


def _weight(target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return how many pixels are annotated, or the sum of their weights; never 0."""
    if weights is None:
        return (target != IGNORE).sum().clamp(min=1)
    numbers = torch.stack([(target == number).sum() for number in range(len(weights))])
    return (numbers * weights).sum().clamp(min=1e-12)


def build_optimiser(network: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """Make one of the optimisers of section 2.4.3.

    The paper states no further settings: SGD has momentum 0.9, as is usual for segmentation;
    Adam and AdamW have PyTorch's defaults.
    """
    parameters = _parameters(network, options.encoder_rate)
    settings: dict[str, Any] = {"lr": options.learning_rate, "fused": True}
    if options.weight_decay is not None:
        settings["weight_decay"] = options.weight_decay
    if options.optimiser == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, **settings)
    if options.optimiser == "adam":
        return torch.optim.Adam(parameters, **settings)
    return torch.optim.AdamW(parameters, **settings)


def _parameters(network: nn.Module, encoder_rate: float) -> list:
    """Return what an optimiser gets: all weights alike, or the encoder's in a group of their own.

    A frozen encoder's weights are in no group and get no gradient.
    """
    if encoder_rate == 1:
        return list(network.parameters())
    encoder = list(network.get_submodule("encoder").parameters())
    others = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    if encoder_rate == 0:
        for parameter in encoder:
            parameter.requires_grad_(False)
        return others
    return [{"params": others}, {"params": encoder, "share": encoder_rate}]


def learning_rate(options: TrainingOptions, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step: constant, or half a cosine down to zero."""
    if options.schedule == "constant":
        return options.learning_rate
    share = step / (options.epochs * steps_per_epoch)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


class _State:
    """What a training needs to go on: weights, the kept weights, optimiser, history."""

    def __init__(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.network, self.optimiser = network, optimiser
        self.history: list[list[float]] = []
        self.best = -math.inf
        self.kept: dict[str, Tensor] = {}

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def ious(self) -> list[float]:
        """Validation IoU of each finished epoch."""
        return [row[HISTORY_COLUMNS.index("validation_iou")] for row in self.history]

    def table(self) -> pd.DataFrame:
        """Return a row for each finished epoch."""
        return pd.DataFrame(self.history, columns=HISTORY_COLUMNS)

    def end_epoch(self, row: list[float], options: TrainingOptions) -> None:
        """Note an epoch, and keep its weights if they are the best or the last."""
        self.history.append(row)
        iou = self.ious[-1]
        # An IoU that is not a number (no class in the validation part) never beats another.
        if options.checkpoint == "last" or not self.kept or iou > self.best:
            self.best = iou if math.isfinite(iou) else self.best
            self.kept = {name: t.clone() for name, t in self.network.state_dict().items()}

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file: no pickles."""
        moments = self.optimiser.state_dict()["state"]
        tensors = {f"network/{name}": t for name, t in self.network.state_dict().items()}
        tensors |= {f"kept/{name}": t for name, t in self.kept.items()}
        tensors |= {
            f"optimiser/{index}/{name}": value
            for index, state in moments.items()
            for name, value in state.items()
            if isinstance(value, Tensor)
        }
        facts = {"history": json.dumps(self.history), "best": json.dumps(self.best)}
        with replace_when_done(path) as beside:
            save_file({name: t.contiguous() for name, t in tensors.items()}, beside, facts)

    def load(self, path: Path) -> None:
        """Read the state back, on the network's device."""
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "kept": {}, "optimiser": {}}
        with safe_open(path, "pt") as file:
            facts = {name: json.loads(file.metadata()[name]) for name in ("history", "best")}
            for name in file.keys():  # noqa: SIM118  (a safetensors file is no mapping)
                group, key = name.split("/", 1)
                groups[group][key] = file.get_tensor(name)
        self.history, self.best = facts["history"], facts["best"]
        self.network.load_state_dict(groups["network"])
        self.kept = groups["kept"]
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in groups["optimiser"].items():
            index, name = key.split("/")
            parameter = parameters[int(index)]
            if value.shape == parameter.shape:
                # A fused optimiser takes both in the order they have in memory: channels last.
                value = torch.empty_like(parameter, requires_grad=False).copy_(value)
            moments.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": moments})
