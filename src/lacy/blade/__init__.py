"""A small domain model writes knowledge for a black box (BLADE, arXiv 2403.18365).

A large model behind an interface cannot be trained, but it reads what it is given. A small model is
trained on a domain (``pretrain_domain``), learns to write the knowledge that a question needs
(``tune_writer``), and gets a soft prompt with which the black box answers best (``optimise``). The
same interface takes passages from documents instead, or both.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
