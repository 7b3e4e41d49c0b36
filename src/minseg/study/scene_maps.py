"""Class maps of whole scenes by a finished run: predicted once, then kept in the run's folder."""

from collections.abc import Sequence
from contextlib import suppress

from minseg.data.dataset import Dataset
from minseg.errors import MinsegError
from minseg.maps.class_map import ClassMap, read_class_map, write_class_map
from minseg.study.runs import Run


def scene_maps(run: Run, dataset: Dataset, scenes: Sequence[str]) -> dict[str, ClassMap]:
    """Return the class maps that a run's network draws of scenes, of any year.

    Only predicting loads torch: a page whose maps are kept does without.

    Parameters
    ----------
    run : Run
    dataset : Dataset
    scenes : sequence of str

    Returns
    -------
    dict of scene to ClassMap
        255 where the image has no data.

    Raises
    ------
    MinsegError
        If a scene is unknown, the run was trained on its mine, or the dataset lacks bands.
    """
    folder = run.path / "scene_maps" / dataset.digest  # the images decide what is predicted
    maps = {scene: folder / f"{scene}.tif" for scene in scenes}
    missing = [scene for scene, path in maps.items() if not path.is_file()]
    predicted = {}
    if missing:
        from minseg.study.execution import predict_scenes_of  # loads torch

        predicted = predict_scenes_of(run, dataset, missing)
        with suppress(MinsegError):  # a run store may be open for reading only
            for scene, one in predicted.items():
                write_class_map(maps[scene], one.classes, one.grid, one.task)
    return {
        scene: predicted[scene] if scene in predicted else read_class_map(path)
        for scene, path in maps.items()
    }
