"""What an analyst takes away: class maps, polygons with areas, change between two years."""
