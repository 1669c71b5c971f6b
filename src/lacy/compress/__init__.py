"""Compress a model by a plan: steps in order, files for several runtimes, one table of all stages.

    from lacy.compress import compress, read_compress_plan, stage_rows

    done = compress("runs/tuned", "articles/", read_compress_plan("phone"), "runs/phone")
    for row in stage_rows(done):
        print(row.name, row.bytes, row.loss_off_facts, row.right_change)

The steps themselves are in ``lacy.vocabulary``, ``lacy.prune``, ``lacy.distill`` and
``lacy.quantize``, the other formats in ``lacy.runtimes``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
