"""Distillation: train a small model on the predictions of a larger one.

``DistillLoss`` is a further loss of ``lacy.train.fit``: the divergence between the teacher's and
the student's predictions, without ``<CALL>``. Where the student may call a source, the teacher is
not imitated, because the student need not know what a source will say. ``distill`` does whole runs
with a live teacher or with its stored predictions (``store_teacher``); ``distill_on_policy`` trains
on texts that the student writes itself, through TRL.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
