"""``lacy vocabulary show``: print what a vocabulary contains and how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lacy.cli.terminal import say
from lacy.cli.vocabulary.build import print_vocabulary
from lacy.config import Positional


@dataclass
class ShowVocabularyConfig:
    """Print what a vocabulary contains and how it was made."""

    file: Positional[Path]
    """File of `lacy vocabulary build`."""
    model: str | None = None
    """Model whose tokenizer the vocabulary belongs to; prints some of its tokens, too."""


FILE = False
FLAGS = ShowVocabularyConfig
EXAMPLES = """
lacy vocabulary show biographies.json
lacy vocabulary show biographies.json --model smollm2
"""
_SAMPLE = 60
"""Number of tokens that are printed."""


def run(config: ShowVocabularyConfig) -> int:
    """Print the figures of the vocabulary and, with a model, a sample of its tokens."""
    from lacy.vocabulary import Vocabulary

    if config.model is None:
        print_vocabulary(str(config.file), Vocabulary.load(config.file))
        return 0
    from lacy.corpus import TokenText
    from lacy.model import load_model

    tokenizer = load_model(config.model).tokenizer
    vocabulary = Vocabulary.load(config.file, tokenizer)
    print_vocabulary(str(config.file), vocabulary)
    text = TokenText(tokenizer)
    longer = [n for n in vocabulary.ids if len(text.bytes_of(n)) > 1]
    sample = longer[:: max(1, len(longer) // _SAMPLE)][:_SAMPLE]
    say("Some of its tokens: " + " ".join(repr(text.decode([n])) for n in sample))
    return 0
