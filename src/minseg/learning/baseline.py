"""The per-pixel baseline: a random forest that sees one pixel's bands and nothing around it."""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from minseg.data.dataset import Dataset
from minseg.data.labels import Task
from minseg.data.radiometry import ChannelStatistics
from minseg.errors import MinsegError
from minseg.learning.patches import read_patch
from minseg.progress import progress

PIXELS = 50_000
"""Pixels drawn from the train scenes, the same number from each."""

TREES = 30
"""Trees of the forest."""


def fit_pixel_forest(
    dataset: Dataset, task: Task, statistics: ChannelStatistics, seed: int
) -> Callable[[Tensor], np.ndarray]:
    """Fit a random forest to pixels of the train scenes.

    It is the floor a network has to beat: what it scores needs no shape, texture or context. Rare
    classes weigh as much as the background (``class_weight="balanced"``). Of classes that overlap
    it learns each combination that occurs as a class of its own.
    """
    random = np.random.default_rng(seed)
    pixels, targets = [], []
    scenes = dataset.scenes_of("train")
    per_scene = -(-PIXELS // len(scenes))
    for _, scene in progress(scenes.iterrows(), "sampling pixels", len(scenes)):
        inputs, target = (tensor.numpy() for tensor in read_patch(dataset, scene, task, statistics))
        known = np.flatnonzero(target != task.ignore)
        drawn = random.choice(known, min(per_scene, len(known)), replace=False)
        pixels.append(inputs.reshape(len(inputs), -1)[:, drawn].T)  # (drawn, bands)
        targets.append(target.ravel()[drawn])
    features, labels = np.concatenate(pixels), np.concatenate(targets)
    if not len(labels):
        raise MinsegError(f"{dataset.path}: no train pixel is annotated; nothing can be learnt")
    forest = RandomForestClassifier(
        TREES,
        min_samples_leaf=5,
        class_weight="balanced",
        n_jobs=torch.get_num_threads(),
        random_state=seed,
    )
    forest.fit(features, labels)

    def predict(inputs: Tensor) -> np.ndarray:
        bands, height, width = inputs.shape
        features = inputs.cpu().numpy().reshape(bands, -1).T  # (pixels, bands)
        return forest.predict(features).reshape(height, width).astype(task.dtype)

    return predict
