"""Annotation marks the characters of a text that state facts, and the kind of each fact.

An ``Annotator`` returns character spans with a reason for each text. ``SpacyAnnotator`` is the
paper's method (a spaCy pipeline and ``Rules``); ``read_labels`` reads the stored labels of an LLM
judge, and ``LiveJudge`` asks one. ``annotate_documents`` marks a whole corpus in several processes
and can resume; ``encode`` turns character marks into flags beside tokens; ``mark_and_pack`` runs
every step from documents to packed data; ``check_marks`` shows the result. Annotation is slow, so
it is done once and stored: training never imports spaCy.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
