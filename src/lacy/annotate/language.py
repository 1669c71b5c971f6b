"""Warn about texts that are not in the annotator's language; their marks would be wrong.

The language of a text is the one whose most frequent function words make up the largest share of
its words. For scripts that only one language (or few) uses, the letters decide. This is meant to
detect a wrong corpus or pipeline, not to distinguish closely related languages.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable

FUNCTION_WORDS = {
    "en": "the of and to in was is for as on with by he that at from his it an were are which be"
    " this had also has her she or their its but who they not been have after one",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es"
    " an er hat aus bei wurde war nach wird sie einer um am sind noch wie einem über",
    "fr": "de la le et les des en un du une est que dans qui par pour au il sur sont avec ne se pas"
    " ce plus son sa ses aux elle été ou cette comme mais a était",
    "es": "de la que el en y a los se del las un por con una su para es al lo como más o pero sus"
    " le ha fue este entre cuando muy sin sobre también hasta desde",
    "it": "di e il la che in a un per è una sono del della con non si da dei al nel le i gli alla"
    " anche più ha come delle nella suo sua ma fu dal lo",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao"
    " ele das tem à seu sua ou ser também são pelo pela",
    "nl": "de van het een en in is dat op te zijn voor met die niet aan er om ook als bij door naar"
    " uit werd ze hij maar of heeft wordt over nog tot deze dit",
    "sv": "och i att det som en på är av för med den till inte har de om ett han men var jag sig"
    " från vi så kan när år under också efter eller nu där vid",
    "da": "og i at det er en til af den på for med der de som ikke et han var har fra blev men om"
    " sig ved kan også eller hun efter blive havde nu",
    "nb": "og i det på er av en til som for med at den har de ikke et han ble var fra om men også"
    " seg vil kan etter eller når hun være hadde nå",
    "pl": "w i na z się do nie to że jest o jak za od po przez dla jego był oraz co tym są ale czy"
    " ich tego która który przy jej lub tak było",
    "cs": "a v se na je že s z o do i to za jako k ve by pro od po byl podle ale nebo jeho která"
    " který také jsou až bylo při roku není",
    "ro": "de și în a la cu o pe este un din că nu se pentru mai au fost care sau ce sunt prin al"
    " ale lui dar după fi ca era sa",
    "hu": "a az és hogy nem is egy volt ez meg de csak már vagy mint azt ki még el kell után ha"
    " lett amely között van neki ezt",
    "fi": "mikä kuka missä ja on ei se että oli hän joka mutta ovat myös kun niin tai mukaan kuin"
    " sen jo hänen vain ovat jälkeen olla vuonna ole siitä kanssa",
    "tr": "ve bir bu da de için ile olarak olan çok daha en kadar gibi sonra ne ama ya her o var"
    " tarafından değil ise yıl olduğu oldu",
    "id": "yang dan di dari untuk dengan pada ini dalam itu tidak adalah ke oleh sebagai akan juga"
    " atau telah karena ia menjadi tersebut bahwa",
    "vi": "của và là có trong được các cho một không với này đã những người từ khi ở về đến như ra"
    " tại theo năm vào",
}  # fmt: skip
"""Some of the most frequent words of each language, which make up a quarter to half of a text."""

SCRIPTS = {
    "uk": "[іїєґ]", "ru": "[\u0400-\u04ff]", "el": "[\u0370-\u03ff]", "he": "[\u0590-\u05ff]",
    "ar": "[\u0600-\u06ff]", "hi": "[\u0900-\u097f]", "th": "[\u0e00-\u0e7f]",
    "ja": "[\u3040-\u30ff]", "ko": "[\uac00-\ud7af]", "zh": "[\u4e00-\u9fff]",
}  # fmt: skip
"""Letters of each language; the first language with enough of them is chosen, so that Ukrainian
comes before Russian and Japanese before Chinese."""

NAMES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian",
    "pt": "Portuguese", "nl": "Dutch", "sv": "Swedish", "da": "Danish", "nb": "Norwegian",
    "pl": "Polish", "cs": "Czech", "ro": "Romanian", "hu": "Hungarian", "fi": "Finnish",
    "tr": "Turkish", "id": "Indonesian", "vi": "Vietnamese", "uk": "Ukrainian", "ru": "Russian",
    "el": "Greek", "he": "Hebrew", "ar": "Arabic", "hi": "Hindi", "th": "Thai", "ja": "Japanese",
    "ko": "Korean", "zh": "Chinese",
}  # fmt: skip

MIN_WORDS = 20
"""Texts with fewer words are not judged."""
MIN_SHARE = 0.1
"""Minimum share of function words; lists and tables have fewer and are not judged. English
Wikipedia articles have 0.34 on average (99% have at least 0.18)."""
MIN_DISTINCT = 3
"""Minimum number of different function words, because program code repeats a few."""
MIN_LETTERS = 0.3
"""Minimum share of a script among the letters (an eighth of it for letters of one language)."""
MIN_TEXTS = 0.1
"""Minimum share of texts in another language for a warning."""
MAX_TEXTS, MAX_CHARACTERS = 200, 4000
"""Number of texts that are judged, and the beginning of each that is read."""

_SETS = {language: frozenset(words.split()) for language, words in FUNCTION_WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")
_SCRIPTS = {language: re.compile(letters) for language, letters in SCRIPTS.items()}


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code of a text's language; None if it cannot be told."""
    text = text[:MAX_CHARACTERS].lower()
    words = _WORD.findall(text)
    letters = sum(map(len, words))
    for language, script in _SCRIPTS.items():
        needed = MIN_LETTERS / 8 if language in ("uk", "ja") else MIN_LETTERS
        if letters >= MIN_WORDS and len(script.findall(text)) >= needed * letters:
            return language
    if len(words) < MIN_WORDS:
        return None
    counts = {language: sum(w in known for w in words) for language, known in _SETS.items()}
    best = max(counts, key=counts.__getitem__)
    enough = counts[best] >= MIN_SHARE * len(words)
    return best if enough and len(_SETS[best].intersection(words)) >= MIN_DISTINCT else None


def language_warning(texts: Iterable[str], language: str = "en") -> str:
    """Return a warning if the texts are not in the annotator's language, else "".

    Args:
        texts: texts of a corpus; the first 200 are read. Texts whose language cannot be told (short
            ones, tables) are not counted.
        language: ISO 639-1 code of the annotator's language (``SpacyAnnotator.language``).

    Returns:
        A sentence with the number of texts, their language and what to type, or "".
    """
    told = [language_of(text) for text in itertools.islice(texts, MAX_TEXTS)]
    known = Counter(found for found in told if found is not None)
    other = known.total() - known[language]
    if other == 0 or other < MIN_TEXTS * known.total():
        return ""
    most = next(found for found, _ in known.most_common() if found != language)
    kind = "web" if most in ("en", "zh") else "news"
    pipeline = "bundled" if most == "en" else f"{most}_core_{kind}_sm"
    ours = NAMES.get(language, language)
    return (
        f"Warning: {other} of {known.total()} texts are not in {ours} (most of these look "
        f"{NAMES[most]}), but the annotator is for {ours}: its marks there will be wrong. "
        f"Leave these texts out, or name a spaCy pipeline for them: --pipeline {pipeline}"
    )
