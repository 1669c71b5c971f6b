"""Pretraining with rare synchronisation: many slow workers train one model and exchange little.

    settings = DilocoSettings(workers=4, sync_every=50, codec="int4")
    pretrain(TrainConfig(data="data/wiki", model="1m", steps=2000, out="runs/together"), settings)

Each worker takes ``sync_every`` ordinary training steps (``lacy.train.fit``) on its own shard of
the data. Then it sends what changed, in the bytes of a codec (``lacy.deltas``). A server takes the
mean of the deltas, sends it back, and everybody applies the same outer step to the same weights
(DiLoCo, 2311.08105). ``InnerWorker`` and ``OuterServer`` exchange bytes only, so one process
(``run_in_process``) and many (``serve_workers``, ``work_for``) give equal results.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
