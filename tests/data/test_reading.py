import numpy as np
import rasterio
from rasterio.windows import Window

from minseg.data.reading import read_named


def test_mask_of_a_scenes_file_hides_pixels_whether_it_is_kept_in_memory_or_not(write_tif):
    numbers = np.full((2, 8, 8), 1000, np.uint16)
    numbers[1, 7] = 0
    path = write_tif("optical.tif", numbers, nodata=0, descriptions=["B02", "B03"])
    mask = np.full((8, 8), 255, np.uint8)
    mask[:, :3] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as target:
        target.write_mask(mask)
    hidden, missing = mask == 0, numbers[1] == 0
    for window in (None, Window(0, 0, 8, 8)):
        assert np.array_equal(read_named(path, ["B02"], window)[1], ~hidden)
        assert np.array_equal(read_named(path, ["B03"], window)[1], ~hidden & ~missing)
