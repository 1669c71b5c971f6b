"""Safety of training data: classifiers of harmful texts, refusals, sanitised samples, DPO.

FedDetox (Zhu et al., arXiv 2604.06833): a large classifier is distilled into a small one; each
client of a federation runs it on its own samples and replaces toxic replies by refusals before it
trains.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
