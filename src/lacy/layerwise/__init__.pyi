from .blocks import Block, Matrix, find_blocks
from .rows import text_rows
from .solver import Choose, solve_columns
from .statistics import InputStatistics
from .walk import BlockVisit, walk_blocks

__all__ = [
    "Block",
    "BlockVisit",
    "Choose",
    "InputStatistics",
    "Matrix",
    "find_blocks",
    "solve_columns",
    "text_rows",
    "walk_blocks",
]
