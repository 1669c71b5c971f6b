"""Annotation: which characters of a text carry facts, and why.

An ``Annotator`` takes texts and gives character spans with a reason. ``SpacyAnnotator`` is the
paper's way (a spaCy pipeline and ``Rules``); ``read_labels`` reads the stored labels of an LLM
judge; ``lacy.annotate.live.LiveJudge`` asks one. ``annotate_documents`` marks a whole corpus,
in processes and resumable; ``encode`` turns character marks into flags beside tokens;
``check_marks`` shows what came of it. Annotation is slow, done once and stored: training never
loads spaCy.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
