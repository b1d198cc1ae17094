"""Many vectors with their names in files, and which of them are nearest to one: a room that knows only numbers."""

from chainrule.index.blocks import Block, Metric
from chainrule.index.vectors import EXACT_MOST, VectorIndex, write_index

__all__ = ["EXACT_MOST", "Block", "Metric", "VectorIndex", "write_index"]
