from .depth import DEPTH_CHOICES, DepthPruned, prune_depth
from .refit import BlockFit
from .weights import WEIGHT_CHOICES, WeightsPruned, prune_weights
from .width import WidthPruned, prune_width
from .zeros import holding_zeros, sparse_masks

__all__ = [
    "DEPTH_CHOICES",
    "WEIGHT_CHOICES",
    "BlockFit",
    "DepthPruned",
    "WeightsPruned",
    "WidthPruned",
    "holding_zeros",
    "prune_depth",
    "prune_weights",
    "prune_width",
    "sparse_masks",
]
