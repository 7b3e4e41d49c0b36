import pytest

from minseg.data.labels import decode_bits
from minseg.synthetic.dataset import render_scene
from minseg.synthetic.register import synthetic_mines


@pytest.fixture(scope="session")
def mines():
    return synthetic_mines(40, seed=3)


@pytest.fixture(scope="session")
def scenes(mines):
    return [draw(mine) for _, mine in mines.iterrows()]


def draw(mine, year=2021, size=96, seed=3):
    return render_scene(mine, year, (2019, 2021), size, seed)


def mask(scene, name):
    return decode_bits(scene.labels, name)
