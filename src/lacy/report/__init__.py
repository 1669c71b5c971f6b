"""Make pages, tables and figures from results; no model runs here, and torch is not imported.

``html`` renders a page and ``svg`` draws all figures. The other files use them for the pages of a
world, the demo and a study, and for the Markdown tables and figures of a study.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
