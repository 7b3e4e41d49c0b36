"""Public outlines of mines → the inputs of fetching: mine list, polygons, scenes."""
