"""Records of served answers: who wrote which part, what sources could not answer, users' verdicts.

``lacy serve --log-calls FOLDER`` writes them (``RecordLog``); ``lacy data loop FOLDER`` reads them
(``read_records``). By default, records contain no prompts and no generated text.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
