from .depth import DEPTH_CHOICES, DepthPruned, prune_depth
from .refit import BlockFit
from .weights import WEIGHT_CHOICES, WeightsPruned, check_weights, prune_weights
from .width import WidthPruned, check_width, prune_width, width_of_shares
from .zeros import holding_zeros, sparse_masks

__all__ = [
    "DEPTH_CHOICES",
    "WEIGHT_CHOICES",
    "BlockFit",
    "DepthPruned",
    "WeightsPruned",
    "WidthPruned",
    "check_weights",
    "check_width",
    "holding_zeros",
    "prune_depth",
    "prune_weights",
    "prune_width",
    "sparse_masks",
    "width_of_shares",
]
