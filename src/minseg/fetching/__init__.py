"""Real scenes: from a mine list, polygons and a catalogue to a dataset folder."""
