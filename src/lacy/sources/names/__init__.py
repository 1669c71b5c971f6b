"""Find the subject of a text among known names; start with ``EntityLinker`` or ``NameIndex``.

``NameIndex`` finds exact names; ``EntityLinker`` also finds other spellings.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
