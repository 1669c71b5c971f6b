"""FActScore (Min et al. 2023, arXiv 2305.14251) and recall, offline or with an endpoint.

A text is split into sentences and these into atomic facts; a judge decides which of them passages
of the topic's page support. ``score_responses`` does all of it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
