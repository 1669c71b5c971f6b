"""Leave out texts that teach little: near-duplicates of others, and those of low quality.

``clean_texts`` writes the texts that are kept and a table of those that are not. ``NearDuplicates``
finds near-duplicates by MinHash, ``train_quality_model`` learns to tell texts like a reference
collection from others.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
