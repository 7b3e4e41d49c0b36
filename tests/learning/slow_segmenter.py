"""A model that takes its time, for programs that are to be killed at work."""

import time

import torch
from torch import nn

from minseg.data.labels import TASKS
from minseg.data.radiometry import ChannelStatistics
from minseg.learning.inference import Segmenter


class Slow(nn.Module):
    """Tells background and excavation by one band, and waits."""

    def __init__(self, pause_s):
        super().__init__()
        self.pause_s = pause_s

    def forward(self, inputs):
        time.sleep(self.pause_s)
        return torch.cat([torch.zeros_like(inputs), inputs, torch.full_like(inputs, -9)], dim=1)


def segmenter_of(pause_s=0.0):
    statistics = ChannelStatistics(("B02",), (0.2,), (0.1,))
    return Segmenter(Slow(pause_s), TASKS["model1"], statistics, torch.device("cpu"), "32-true")
