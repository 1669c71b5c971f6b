"""Pages, tables and figures made from results; no model runs here and torch is not imported.

``html`` is the page, ``svg`` the one engine of figures; on these stand the page of a world, of the
demo and of a study, and the Markdown tables and figures of a study.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
