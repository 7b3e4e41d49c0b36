"""A model that stops at a chosen tile, for programs that are to be killed just there."""

import signal

import torch
from torch import nn

from minseg.data.labels import TASKS
from minseg.data.radiometry import ChannelStatistics
from minseg.learning.inference import Segmenter
from minseg.learning.tiling import Tiling

TILING = Tiling(96, 32)


def wait_to_be_killed():
    print("waiting", flush=True)
    signal.pause()


class Stopping(nn.Module):
    """Tells background and excavation by one band, and waits to be killed once it did enough."""

    def __init__(self, enough):
        super().__init__()
        self.enough, self.tiles = enough, 0

    def forward(self, inputs):
        if self.tiles == self.enough:
            wait_to_be_killed()
        self.tiles += len(inputs)
        return torch.cat([torch.zeros_like(inputs), inputs, torch.full_like(inputs, -9)], dim=1)


def segmenter_of(enough=None):
    statistics = ChannelStatistics(("B02",), (0.2,), (0.1,))
    return Segmenter(Stopping(enough), TASKS["model1"], statistics, torch.device("cpu"), "32-true")
