from .budget import MatrixCosts, choose_types, matrix_costs
from .gptq import compensated_matrix
from .on_grid import exact_blocks, grid_share
from .parts import check_quantize
from .permute import permute_channels
from .quantized import MatrixReport, Quantized, QuantizeReport
from .search import search_matrix
from .whole import Method, quantize

__all__ = [
    "MatrixCosts",
    "MatrixReport",
    "Method",
    "QuantizeReport",
    "Quantized",
    "check_quantize",
    "choose_types",
    "compensated_matrix",
    "exact_blocks",
    "grid_share",
    "matrix_costs",
    "permute_channels",
    "quantize",
    "search_matrix",
]
