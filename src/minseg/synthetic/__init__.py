"""Mines that a program draws: landscapes, pits and dumps, how satellites would see them."""
