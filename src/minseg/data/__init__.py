"""What a scene is: classes, bands, rasters, mines, and the dataset folder."""
