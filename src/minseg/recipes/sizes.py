"""How much disk the scenes of a recipe take: what was measured, and what is estimated from it."""

from minseg.fetching.boxes import PIXEL_M, BoxRule

BYTES_A_PIXEL = 12 * 2 + 3 * 4 + 2
"""Of a scene before compression: twelve bands, three radar channels, labels."""

COMPRESSED_BYTES_A_PIXEL = 18
"""The same on disk, as measured on one real scene of 12 + 3 channels (Sen1Floods11, Spain)."""

BOX = BoxRule()
"""The box that sizes are told for: what ``fetch`` takes if not asked otherwise."""

MEAN_PIXELS = 2_254_000
"""Of a scene, as measured: the mean over the boxes of Jasansky's 116 test tiles."""


def estimated_size(num_scenes: int) -> str:
    """Tell how much disk scenes take of which nothing but their number is known.

    Parameters
    ----------
    num_scenes : int

    Returns
    -------
    str
    """
    least, most = ((side_m / PIXEL_M) ** 2 for side_m in (BOX.smallest_m, BOX.largest_m))
    low, mean, high = (
        pixels * COMPRESSED_BYTES_A_PIXEL / 1e6 for pixels in (least, MEAN_PIXELS, most)
    )
    return (
        f"about {num_scenes * mean / 1000:.0f} GB for {num_scenes:,} scenes, estimated at "
        f"{mean:.0f} MB a scene ({low:.0f} to {high:.0f} by its box): boxes as measured on "
        "Jasansky's 116 test tiles, compression as measured on one real scene; the size of the "
        "download itself is unknown to us"
    )
