"""How much of a training step's speed the whole loop keeps.

The bare step is forward, backward and optimiser on one resident batch; the loop adds sampling,
cropping, augmentation, learning-rate changes and progress. Both run in this process, in turn, on
the same network (where its weights lie in memory alone moves a step by several percent), with a
fresh optimiser each round; the median of the rounds' ratios is the figure.

Run: python benchmarks/training.py [--architecture unet --encoder resnet18 --crop 224]
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from minseg.data.labels import parse_task
from minseg.data.radiometry import training_statistics
from minseg.learning.device import resolve_precision
from minseg.learning.models import build_model
from minseg.learning.options import TrainingOptions
from minseg.learning.patches import TrainingPatches
from minseg.learning.training import build_loss, build_optimiser, train
from minseg.synthetic.dataset import write_synthetic

BANDS = ("B04", "B03", "B02")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="unet")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=1, help="of the loop, per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streamed", action="store_true", help="read crops from disk")
    return parser.parse_args()


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    given = arguments()
    options = TrainingOptions(
        crop=given.crop, batch_size=given.batch_size, epochs=given.epochs, learning_rate=1e-4
    )
    fabric = Fabric(accelerator="auto", devices=1, precision=resolve_precision(options.precision))
    device, task = fabric.device, parse_task("model4")
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_synthetic(Path(folder) / "mines", 24, size=max(256, given.crop))
        patches = TrainingPatches(
            dataset,
            task,
            training_statistics(dataset, BANDS),
            crop=given.crop,
            batch_size=given.batch_size,
            crops_per_scene=16,  # a long epoch, so that what comes once a training weighs little
            device=device,
            resident=not given.streamed,
        )

        network = build_model(given.architecture, given.encoder, BANDS, task.num_classes, None)
        network.to(device).to(memory_format=torch.channels_last)
        num_steps = options.epochs * len(patches)

        def loop() -> None:
            """Train as a run does, without validation."""
            no_counts = np.ones((1, task.num_classes, 4), np.int64)
            train(network, patches, lambda _: no_counts, options, Path(folder) / "none", fabric)

        loss_function = build_loss(options.loss)
        inputs, target = next(iter(patches.batches(0)))

        def bare() -> None:
            """Make the same number of steps on one resident batch."""
            model, optimiser = fabric.setup(network, build_optimiser(network, options))
            model.train()
            for _ in range(num_steps):
                optimiser.zero_grad()
                fabric.backward(loss_function(model(inputs), target))
                optimiser.step()

        def images_per_s(work: Callable[[], None]) -> float:
            started = time.perf_counter()
            work()
            synchronise(device)
            return num_steps * options.batch_size / (time.perf_counter() - started)

        images_per_s(bare), images_per_s(loop)  # warm up
        rounds = [(images_per_s(bare), images_per_s(loop)) for _ in range(given.rounds)]
    bare_speed, loop_speed = (statistics.median(column) for column in zip(*rounds, strict=True))
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    report = vars(given) | {
        "device": name,
        "threads": torch.get_num_threads(),
        "bare_images_per_s": round(bare_speed, 2),
        "loop_images_per_s": round(loop_speed, 2),
        "ratio": round(statistics.median(loop / bare for bare, loop in rounds), 3),
        "ratios": [round(loop / bare, 3) for bare, loop in rounds],
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
