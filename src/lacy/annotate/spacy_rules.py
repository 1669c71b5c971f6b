"""Mark facts with rules on the output of a spaCy pipeline: the paper's method (§3, §4)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from importlib import resources, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy._require import require_package
from lacy._text import SURROGATE
from lacy.annotate.config import RULES_VERSION, TEXT_SECONDS, Rules
from lacy.annotate.long_texts import TooSlow, batches, prepare_text, split_text, time_limit
from lacy.errors import LacyError
from lacy.types import Mark

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

PAPER = "en_core_web_sm"
BUNDLED = "bundled"
UNUSED = {
    "parser", "lemmatizer", "trainable_lemmatizer", "senter", "sentencizer", "entity_linker",
    "textcat", "textcat_multilabel", "spancat", "spancat_singlelabel", "span_finder",
    "beam_parser", "coref",
}  # fmt: skip
"""Components that no rule needs; parsing is much faster without them."""


def choose_pipeline(name: str | Path = "auto") -> tuple[str, str]:
    """Choose the pipeline to load.

    Args:
        name: ``auto``, ``bundled``, an installed package's name, or a folder.

    Returns:
        A name or path for ``spacy.load``, and a sentence that explains the choice.
    """
    if str(name) == "auto":
        if util.find_spec(PAPER) is not None:
            return PAPER, f"spaCy pipeline {PAPER}: it is installed, and it is the paper's"
        reason = f"the bundled spaCy pipeline en_lacy_tiny: {PAPER} is not installed"
        return str(bundled_path()), reason
    if str(name) == BUNDLED:
        return str(bundled_path()), "the bundled spaCy pipeline en_lacy_tiny: asked for"
    return str(name), f"spaCy pipeline {name}: asked for"


def bundled_path() -> Path:
    """Return the folder of the pipeline that comes with lacy."""
    return Path(str(resources.files(__package__).joinpath("en_lacy_tiny")))


def load_pipeline(name: str | Path) -> Language:
    """Load a pipeline.

    Raises:
        LacyError: E11, spaCy is not installed; E30, there is no such pipeline, or it cannot be
            loaded.
    """
    spacy = require_package("spacy", "spacy", "annotation by rules")
    try:
        pipeline: Language = spacy.load(name)
    except (OSError, ValueError, KeyError) as error:
        why = "it is not installed, and no folder has this name"
        if "[E050]" not in str(error):
            why = f"it does not load ({str(error).splitlines()[0]})"
        raise LacyError("E30", name=str(name), why=why) from error
    from lacy.annotate.heads import use_numpy_products

    use_numpy_products(pipeline)
    return pipeline


class SpacyAnnotator:
    """Marks facts with rules on the output of a spaCy pipeline.

    Args:
        pipeline: ``auto`` (``en_core_web_sm`` if installed, as in the paper, else the bundled one),
            ``bundled``, a package name, a folder, or a loaded pipeline. A loaded pipeline cannot be
            sent to worker processes.
        rules: the switches.
        batch_size: texts parsed together; 64 was fastest in our measurements.
        seconds: limit of processor time for one text, or for 100,000 characters of a longer one.
        notify: called with a sentence for each automatic choice; prints to stderr by default.

    Raises:
        LacyError: E11, E30.
    """

    uses_subjects = True

    def __init__(
        self,
        pipeline: str | Path | Language = "auto",
        rules: Rules | None = None,
        *,
        batch_size: int = 64,
        seconds: float | None = TEXT_SECONDS,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.seconds = seconds
        self.source: str | None = None
        if isinstance(pipeline, str | Path):
            self.source, self.choice = choose_pipeline(pipeline)
            self.nlp = load_pipeline(self.source)
            if str(pipeline) == "auto":
                (notify or _print_to_stderr)(f"annotating with {self.choice}")
        else:
            self.nlp, self.choice = pipeline, "a loaded pipeline: asked for"
        self.rules = rules or Rules()
        self._entities, self._facts = self._heads()
        meta = self.nlp.meta
        self.name = f"spacy:{meta['lang']}_{meta['name']}-{meta['version']}"
        self._select()

    def _heads(self) -> tuple[Any, Any]:
        """Return the taggers of entities and of learned facts; None if missing or off."""
        from lacy.annotate.heads import ENTITIES, FACTS, entity_types, head

        heads = {name: head(self.nlp, name) for name in (ENTITIES, FACTS)}
        self._skip = [name for name, found in heads.items() if found is not None]
        entities, facts = heads.values()
        if facts is not None and entity_types(facts.labels) != ["FACT"]:
            facts = None
        return (entities if self.rules.entities else None, facts if self.rules.learned else None)

    def _select(self) -> None:
        """Disable the components that the rules do not use."""
        if self.source is not None:
            for name in self.nlp.pipe_names:
                factory = self.nlp.get_pipe_meta(name).factory
                entities = factory in {"ner", "entity_ruler", "beam_ner"}
                if factory in UNUSED or (entities and not self.rules.entities):
                    self.nlp.disable_pipe(name)

    @property
    def inactive(self) -> dict[str, str]:
        """Map each marking switch that cannot work with this pipeline to the reason."""
        names = set(self.nlp.pipe_names)
        factories = {self.nlp.get_pipe_meta(name).factory for name in names}
        missing = {}
        recognisers = factories & {"ner", "entity_ruler", "beam_ner"}
        if self.rules.entities and self._entities is None and not recognisers:
            missing["entities"] = "the pipeline has no entity recogniser"
        if self.rules.proper_nouns and not names & {"tagger", "morphologizer"}:
            missing["proper_nouns"] = "the pipeline has no part-of-speech tagger"
        if self.rules.learned and self._facts is None:
            missing["learned"] = "the pipeline has no component 'facts'"
        return missing

    @property
    def language(self) -> str:
        """ISO 639-1 code of the pipeline's language."""
        return str(self.nlp.lang)

    def settings(self) -> dict[str, Any]:
        """Return everything that influences the marks: pipeline, spaCy version and rules."""
        import spacy

        return {
            "pipeline": self.name,
            "spacy": spacy.__version__,
            "version": RULES_VERSION,
            "rules": asdict(self.rules),
        }

    def annotate(
        self, texts: Sequence[str], subjects: Sequence[str | None] | None = None
    ) -> list[list[Mark]]:
        """Return the marks of each text.

        Args:
            texts: any strings, including empty ones.
            subjects: the subject of each text (its title), if known.

        Raises:
            LacyError: E50, a text took too long.
        """
        about = [None] * len(texts) if subjects is None else subjects
        marks: list[list[Mark]] = [[] for _ in texts]
        pieces = [
            (number, *piece)
            for number, text in enumerate(texts)
            for piece in split_text(text if text.isascii() else SURROGATE.sub("\ufffd", text))
        ]
        for group in batches([piece for _, _, piece in pieces], self.batch_size):
            for (number, offset, _), found in zip(
                pieces[group], self._batch(pieces[group], about), strict=True
            ):
                if offset:
                    found = [replace(m, start=m.start + offset, end=m.end + offset) for m in found]
                marks[number].extend(found)
        return marks

    def _batch(
        self, pieces: Sequence[tuple[int, int, str]], about: Sequence[str | None]
    ) -> list[list[Mark]]:
        """Mark parts of texts in one batch; the batch has the time limit of one text."""
        from lacy.annotate.grammar import compile_all
        from lacy.annotate.rules import mark

        compile_all()
        try:
            with time_limit(self.seconds):
                parsed = self._together([text for _, _, text in pieces])
                return [
                    mark(doc, self.rules, text=text, scores_TL=scores_TL, subject=about[number])
                    for (number, _, text), (doc, scores_TL) in zip(pieces, parsed, strict=True)
                ]
        except TooSlow:
            raise LacyError(
                "E50", seconds=self.seconds, texts=len({n for n, _, _ in pieces})
            ) from None

    def parse(self, texts: Sequence[str]) -> Iterator[tuple[Doc, Any]]:
        """Yield each parsed text with the learned tagger's scores, or None without a tagger."""
        for group in batches(texts, self.batch_size):
            yield from self._together(texts[group])

    def _together(self, texts: Sequence[str]) -> Iterator[tuple[Doc, Any]]:
        from lacy.annotate.heads import entity_types, probabilities, set_entities, single_thread

        ready = [prepare_text(self.nlp, text) for text in texts]
        scores: list[Any] = [None] * len(ready)
        with single_thread():
            docs = list(self.nlp.pipe(ready, batch_size=self.batch_size, disable=self._skip))
            if self._facts is not None:
                scores = probabilities(self._facts, docs)
            if self._entities is not None:
                types = entity_types(self._entities.labels)
                for doc, scores_TL in zip(docs, probabilities(self._entities, docs), strict=True):
                    set_entities(doc, scores_TL, types)
        yield from zip(docs, scores, strict=True)

    def __getstate__(self) -> dict[str, Any]:
        if self.source is None:
            why = "a loaded pipeline cannot be sent to a worker; give its name or folder"
            raise LacyError("E12", key="n_process", value="> 1", why=why, do="--n-process 1")
        return {
            "pipeline": self.source,
            "rules": self.rules,
            "batch_size": self.batch_size,
            "seconds": self.seconds,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _print_to_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr)
