"""Read a person's birth, death, nationality and occupation from a text by patterns.

They read how encyclopedias and models write about people: "Marie Curie (7 November 1867 – 4 July
1934) was a Polish physicist. She was born in Warsaw." A statement counts only if its subject is the
person: the name, a part of it, a pronoun at the beginning of a sentence, or a bracket or participle
beside the name. What is said about relatives does not count. ``docs/results/audit.md`` has the
patterns' own precision and recall.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lacy._text import normalized_words
from lacy.cascade import definition_in, places_in, spelled_out
from lacy.evaluate.entities import DateParts, find_dates

LifeRelation = Literal[
    "birth date", "birth place", "death date", "death place", "nationality", "occupation"
]
RELATIONS: tuple[LifeRelation, ...] = (
    "birth date", "birth place", "death date", "death place", "nationality", "occupation"
)  # fmt: skip

_FIRST_PART = 600
"""Number of characters in which the bracket with the life dates is searched."""

_LONGEST_TEXT = 50_000
"""Number of characters of a text that are read; a life begins and ends early in an article."""

_BRACKET = re.compile(r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_BETWEEN_SENTENCES = re.compile(
    r"(?<=[^\W_A-Z][.!?])(?<!\bSt\.)(?<!\bDr\.)(?<!\bJr\.)(?<!\bMr\.)(?<!\bSr\.)(?<!Mrs\.)"
    r"\s+(?=[A-ZÀ-Ž“\"])|\n+"
)
_BORN_INSIDE = re.compile(r"\b(?:born|b\.|née?)\s*(?P<tail>[^;–—]*)", re.IGNORECASE)
_DIED_INSIDE = re.compile(r"(?:\b(?:died|d\.)|†)\s*(?P<tail>[^;–—]*)", re.IGNORECASE)
_YEARS = re.compile(r"\A\s*(?P<birth>(?:c\. ?)?\d{4})\s*[–—-]\s*(?P<death>(?:c\. ?)?\d{4})\s*\Z")
_DATE_PLACE = re.compile(r"\d{4},\s+(?P<place>[A-ZÀ-Ž][\w'’.-]+(?:[ ,]+[A-ZÀ-Ž][\w'’.-]+)*)\s*\Z")
_ONLY_DATE = re.compile(r"\s*(?:\d{1,2} )?(?:[A-Z][a-z]+ )?(?:\d{1,2}, )?\d{4}\s*")
_ABOUT = re.compile(
    r"\b(?:c\.|ca\.|circa|about|around|before|after|or)(?=\s|\d)|\?|\b\d{4}/\d{2,4}"
)
"""Words of a date that is not exact."""
_OTHER_PERIOD = re.compile(
    r"\b(?:reign|reigned|ruled|r\.|active|fl\.|flourished|served|office|season|from)", re.IGNORECASE
)
_ADVERBS = r"(?:\s+(?:originally|also|reportedly|probably|himself|herself|suddenly|peacefully))?"
_CLAUSE_END = re.compile(
    r"[;()]|(?<!\bSt)\.\s|,?\s+(?:and|but|to|as|into|who|where|when|while|with|after|during|because|from|of)\b"
    r"|,\s+(?:the|a|an|he|she|his|her)\b|\s[–—-]\s|\bdied\b"
)
"""What ends the date and place after "born" or "died"."""
_DIED_END = re.compile(_CLAUSE_END.pattern.replace("|after", "").replace("|from|of", ""))
_DEMONYMS = re.compile(
    r"(?:[A-ZÀ-Ž][\w-]*(?:ish|an|ese|ic|ch|i|sh|ine|ite)|German|Greek|Czech|Swiss|Thai|Welsh|Dutch"
    r"|Slovak|Slovene|Turk|Serb|Croat|Finn|Dane|Swede|Pole|Kazakh|Uzbek|Kyrgyz|Lao|Malay|Manx"
    r"|Filipino|Filipina|Soviet|Kosovar|Monégasque|Basque)\Z"
)
_NO_NATION = frozenset(
    "Roman Catholic Christian Anglican Republican Democratic Olympic Lutheran Puritan Presbyterian"
    " Franciscan Dominican Victorian Edwardian Islamic Hasidic Marine Episcopalian Labor-Zionist"
    " Paralympic Academic Parliamentarian Civilian Benedictine Augustinian Rabbi Sufi".split()
)
"""Words that end like a nationality and are none. "Dominican" is more often a friar."""
_FORMER = re.compile(r"\A(?:(?:former|retired|late|young|noted|prominent|leading)\s+)+")
"""Adjectives before a nationality: "a retired Swedish sprinter"."""
_COMPASS = ("South", "North", "New", "East", "West", "Northern", "Saudi", "Sri", "Costa", "Puerto")
"""Words that belong to the nationality after them: "South Korean"."""


@dataclass(frozen=True, slots=True)
class LifeStatement:
    """What a text says about one relation."""

    relation: LifeRelation
    text: str
    """The words that give the value."""
    dates: frozenset[DateParts] = frozenset()
    """The date, or several of which one is meant (old style and new style)."""
    exact: bool = True
    """False for "c. 1466" or "before 1470", which nothing is compared with."""

    def agrees(self, known: LifeStatement) -> bool:
        """True if the statement does not contradict what is known.

        Of two dates, the parts that both give must be equal. Of two places, the first of one must
        be the other or contain it. Of nationalities and occupations, one in common is enough.
        """
        if self.dates or known.dates:
            return any(_compatible(own, other) for own in self.dates for other in known.dates)
        if self.relation in ("birth place", "death place"):
            own, other = _places(self.text), _places(known.text)
            return bool(own and other) and (own[0] in other or other[0] in own)
        if self.relation == "nationality":
            return bool(_nations(self.text) & _nations(known.text))
        pairs = ((a, b) for a in _phrases(self.text) for b in _phrases(known.text))
        return any(a <= b or b <= a for a, b in pairs)

    def agrees_in_year(self, known: LifeStatement) -> bool:
        """True if both give the same year."""
        own = {year for _, _, year in self.dates if year}
        return bool(own & {year for _, _, year in known.dates if year})


def read_life(text: str, name: str) -> list[LifeStatement]:
    """Return what a text says about a person's life, in order; a relation may occur repeatedly.

    Args:
        text: a text about the person.
        name: the person's name, such as the title of the article.
    """
    text = text[:_LONGEST_TEXT]
    name = re.sub(r"\s*\([^()]*\)\Z", "", name)  # "Sunil (actor)"
    found = [*_in_bracket(spelled_out(text), name), *_in_sentences(text, name)]
    found += _defined(text, name)
    return list(dict.fromkeys(found))


def known_life(facts: Iterable[tuple[str, str]]) -> list[LifeStatement]:
    """Return the facts of a database that are among ``RELATIONS``, by the names of its relations.

    Args:
        facts: pairs (relation, value), such as ("birth_place", "Warsaw").
    """
    found = []
    for relation, value in facts:
        known = life_relation(relation, value)
        if known is not None:
            dates = frozenset(find_dates(value)) if known.endswith("date") else frozenset()
            found.append(LifeStatement(known, value, dates, not _ABOUT.search(value)))
    return found


def life_relation(name: str, value: str) -> LifeRelation | None:
    """Return which of ``RELATIONS`` a database's relation is, or None."""
    from lacy.sources import relation_words

    words = set(relation_words(name).split())
    is_date = bool(words & {"date", "year", "day"}) or (
        not words & {"place", "city", "country", "town", "location", "birthplace"}
        and bool(find_dates(value))
    )
    if words & {"birth", "born", "birthplace", "birthdate", "birthday"}:
        return "birth date" if is_date or words & {"birthdate", "birthday"} else "birth place"
    if words & {"death", "died"}:
        return "death date" if is_date else "death place"
    if words & {"nationality", "citizenship"}:
        return "nationality"
    return "occupation" if words & {"occupation", "profession"} else None


# ------------------------------------------------------------------------------------ the patterns


def _in_bracket(text: str, name: str) -> list[LifeStatement]:
    """Return what the bracket after the name says: "(born 1867 in Warsaw; died 1934)"."""
    for bracket in _BRACKET.finditer(text[:_FIRST_PART]):
        before = text[: bracket.start()]
        if re.search(r"[a-z]{3}[.!?]\s+[A-Z]", before) or not _is_about(before, name):
            return []
        inside = bracket[1]
        if years := _YEARS.match(inside.split(";")[-1]):
            if _OTHER_PERIOD.search(before[-40:]):
                continue
            return [
                *_dated("birth date", years["birth"]), *_dated("death date", years["death"])
            ]  # fmt: skip
        tails = [match["tail"] for match in _BORN_INSIDE.finditer(inside)]
        if tails:  # "(born Michelle Selesky; February 18, 1985)"
            tails += [part for part in inside.split(";") if _ONLY_DATE.fullmatch(part)]
        births = (_event(tail, "birth") for tail in tails)
        deaths = (_event(match["tail"], "death") for match in _DIED_INSIDE.finditer(inside))
        if found := [*next(filter(None, births), ()), *next(filter(None, deaths), ())]:
            return found
    return []


def _in_sentences(text: str, name: str) -> list[LifeStatement]:
    """Return what sentences with the person as subject say about birth and death."""
    words = [w for w in re.findall(r"[\w'’-]+", name) if w[:1].isupper() and len(w) > 1]
    parts = "|".join(re.escape(word) for word in words) or r"(?!)"
    subject = (
        rf"(?:(?:(?:Sir|Dame|Lord|Lady|Dr\.?|Mr\.?|Mrs\.?|Saint|St\.?)\s+)?(?:(?:{parts})[\s.]*)+"
    )
    subject += r"(?:\([^()]*\)\s*)?|(?:He|She|They)\b\s*)"
    born = re.compile(
        rf"\A\W*(?:(?:On|In)\s[^,]{{4,40}},\s+)?(?:{subject},?\s*(?:(?:was|were|is)\b{_ADVERBS}\s+)?"
        rf"born\b|Born\b(?:\s+and\s+(?:raised|brought\s+up))?)(?P<tail>.*)", re.DOTALL
    )  # fmt: skip
    died = re.compile(
        rf"\A\W*(?:{subject}{_ADVERBS}\s*(?:[^.;]{{0,60}}?\band\s+)?(?:died|passed\s+away)\b)(?P<tail>.*)",
        re.DOTALL,
    )
    found: list[LifeStatement] = []
    again = re.compile(rf",\s+(?:{parts})\b")
    for sentence in _BETWEEN_SENTENCES.split(text):
        if match := born.match(sentence):
            found += _event(again.split(match["tail"])[0], "birth")
        if match := died.match(sentence):
            found += _event(again.split(match["tail"])[0], "death")
    return found


def _event(tail: str, what: Literal["birth", "death"]) -> list[LifeStatement]:
    """Return the date and place at the beginning of what follows "born" or "died"."""
    end = (_CLAUSE_END if what == "birth" else _DIED_END).search(tail)
    clause = tail[: end.start()] if end else tail
    clause = clause[:200]
    date: LifeRelation = "birth date" if what == "birth" else "death date"
    place: LifeRelation = "birth place" if what == "birth" else "death place"
    found = _dated(date, clause)
    if after := _DATE_PLACE.search(clause):  # "(born July 23, 1976, Chisinau)"
        return [*found, LifeStatement(place, after["place"])]
    for start, words in places_in(clause):
        if clause[:start].rstrip().endswith((" to", " of", " from")) or find_dates(words):
            continue
        found.append(LifeStatement(place, words))
        break
    return found


def _dated(relation: LifeRelation, text: str) -> list[LifeStatement]:
    dates = frozenset(find_dates(text))
    full = frozenset(date for date in dates if all(date))
    dates = full or dates
    if not any(year for _, _, year in dates):
        return []
    return [LifeStatement(relation, text.strip(" ,"), dates, not _ABOUT.search(text))]


def _defined(text: str, name: str) -> list[LifeStatement]:
    """Return nationality and occupation as the first sentence gives them."""
    definition = definition_in(text, name)
    if definition is None or definition.article not in ("a", "an"):
        return []
    words = _FORMER.sub("", definition.words).split()
    count = next((n for n, word in enumerate(words) if word[:1].islower() and word != "and"), None)
    if count is None:
        return []
    while count and words[count - 1] == "and":
        count -= 1
    lead, rest = words[:count], " ".join(words[count:])
    nations: list[str] = []
    for before, word in zip(["", *lead], lead, strict=False):
        for part in re.sub(r"[\w]+-born\b", "", word.strip(",")).split("-"):
            if _DEMONYMS.match(part) and part not in _NO_NATION and part not in _COMPASS:
                nations.append(f"{before} {part}" if before in _COMPASS else part)
    found: list[LifeStatement] = []
    if nations:
        found.append(LifeStatement("nationality", " and ".join(dict.fromkeys(nations))))
    if rest and rest.split()[0] not in ("of", "in", "for", "at", "from", "to"):
        found.append(LifeStatement("occupation", rest))
    return found


_IN_NAMES = frozenset(
    "de da di du del della dos do van von der den ter la le el al bin ibn y e av af of the in and"
    " or s also more known as by his her their married birth stage pen full real name names"
    " nickname nicknamed professionally commonly better often sometimes simply just formerly"
    " called born née né spelled written anglicised english chinese arabic russian hebrew later"
    " lord lady sir saint".split()
)
"""Lower-case words between a name and the bracket behind it: "also known by her married name"."""
_UNITED = {"english": "british", "scottish": "british", "welsh": "british", "britain": "british"}


def _compatible(own: DateParts, known: DateParts) -> bool:
    """True if two dates give the same year, and no different day or month."""
    if own[2] is None or known[2] is None:
        return False
    return all(a == b for a, b in zip(own, known, strict=True) if None not in (a, b))


def _nations(text: str) -> set[str]:
    """Return nationalities in lower case; "English" is also "British"."""
    parts = re.split(r",|\sand\s|(?<=[a-z])-|/", text)
    found = {" ".join(normalized_words(part)) for part in parts} - {""}
    return found | {_UNITED[nation] for nation in found if nation in _UNITED}


def _is_about(before: str, name: str) -> bool:
    """True if the words before a bracket are the person's name, with a few others at most."""
    before = re.sub(r"\([^()]*\)|[“\"][^“”\"]*[”\"]", "", before)
    own, words = set(normalized_words(name)), normalized_words(before)
    others = {word for word in re.findall(r"[^\W\d_]+", before) if word.islower()}
    return bool(own & set(words)) and len(words) <= len(own) + 12 and others <= _IN_NAMES | own


def _places(text: str) -> list[str]:
    """Return a place and the regions that contain it, each in its normal form."""
    parts = (" ".join(normalized_words(part)) for part in text.split(","))
    return [part.removeprefix("the ") for part in parts if part]


def _phrases(text: str) -> list[frozenset[str]]:
    """Return the words of each of several nationalities or occupations."""
    parts = re.split(r",|;|\s(?:and|or)\s", text.casefold())
    parts = [re.split(r"\s(?:of|for|in|at|who|from)\s", part)[0] for part in parts]
    found = (frozenset(w.removesuffix("s") for w in normalized_words(part)) for part in parts)
    return [words - {"former", "professional", "the"} for words in found if words]


def by_relation(statements: Sequence[LifeStatement]) -> Mapping[LifeRelation, list[LifeStatement]]:
    """Return the statements of each relation that occurs."""
    found: dict[LifeRelation, list[LifeStatement]] = {}
    for statement in statements:
        found.setdefault(statement.relation, []).append(statement)
    return found
