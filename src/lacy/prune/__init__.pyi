from .depth import DEPTH_CHOICES, DepthPruned, prune_depth

__all__ = ["DEPTH_CHOICES", "DepthPruned", "prune_depth"]
