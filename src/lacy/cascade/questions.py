"""Parse questions: what they ask for, and how a statement that answers them begins.

"When was Ada Lovelace born?" asks for a date, and "Ada Lovelace was born" begins its answer. The
rules below only use English grammar and the words around the name; they know no relations.

A base model does not answer questions at all; ``hints`` tells its user what to type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lacy._text import MONTHS
from lacy.cascade.framing import around_blank, unframed
from lacy.cascade.verbs import PREPOSITIONS, past, third_person

_QUESTION = re.compile(r"[?？؟]\W*(?:\b(?:a|answer):\s*)?\Z", re.IGNORECASE)
_VERB = r"(?:is|was|are|were|did|does|do|has|had|have|will|can)"
_NOUN = r"(?!(?:he|she|it|they|we|you|this|that)\b)(?-i:[a-z]+)"
_UNMARKED = re.compile(
    rf"(?:(?:who|whom|what|when|where|why|how|(?:what|which|whose|how) {_NOUN}) {_VERB}\b"
    r"|(?:please,? )?(?:tell me|give me|name the|list (?:all|the))\b)[^.!?？\n]*[.!]?\s*\Z",
    re.IGNORECASE,
)
"""A prompt that is a question without a question mark, or a request."""
_PLACE_WORDS = r"(?:(?:in|on|at|by|for|to|from|of|with|under|since|during)\s+)?"
_MEASURES = r"many|much|old|tall|long|high|large|big|far|deep|heavy|wide|fast|often"
_ASKED = re.compile(
    rf"(?P<lead>{_PLACE_WORDS})(?P<wh>who|whom|whose|what|which|when|where|how(?:\s+(?:{_MEASURES}))?)"
    rf"\b(?P<noun>(?:\s+(?!{_VERB}\b)(?-i:[a-z][\w-]*)){{0,5}}"
    rf"|(?:(?<=which)|(?<=what))(?:\s+(?!{_VERB}\b)[\w-]+){{1,5}})"  # "which NFL team is"
    rf"\s+(?P<verb>{_VERB})(?P<rest>['’]?\s+.+?)[\s.?？!]*\Z",
    re.IGNORECASE | re.DOTALL,
)
"""A question with an auxiliary verb: "In what city was George Rankin born?"."""
_BARE = re.compile(
    r"(?P<wh>who|what|which|whose|how\s+(?:many|much))\b(?P<noun>(?:\s+(?-i:[a-z][\w-]*)){0,4}?)"
    r"\s+(?P<verb>(?-i:[a-z]+(?:ed|s|d|t|w|g|k|e|n)))\s+(?P<rest>.+?)[\s.?？!]*\Z",
    re.IGNORECASE | re.DOTALL,
)
"""A question that asks for the subject of its verb: "Who founded Zynga?"."""
_REQUEST = re.compile(
    r"(?:please,?\s+)?(?:(?:can|could|would) you\s+)?(?:please\s+)?"
    r"(?:tell me|give me|name|state|what about)\s+(?P<rest>.+?)[\s.?？!]*\Z",
    re.IGNORECASE | re.DOTALL,
)
_INDIRECT = re.compile(
    r"(?:please,?\s+)?(?:(?:can|could|would) you\s+)?(?:please\s+)?"
    r"(?:tell me|do you know|i(?: would|'d) like to know|i want to know)\s+"
    r"(?P<wh>(?:who|whom|what|which|when|where|(?:in|at|on) (?:what|which)|how many)\b.+?)"
    r"[\s.?？!]*\Z",
    re.IGNORECASE | re.DOTALL,
)
_INDIRECT_START = re.compile(
    rf"{_PLACE_WORDS}(?:who|whom|what|which|when|where|how many)"
    r"(?:\s+(?:city|country|town|year|day|place))?\s+",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"(?:the\s+)?[^\W\d_a-z][\w'’.\-]*(?:\s+(?:(?:of|the|de|da|di|van|von|der|la|le|al|and)\s+)*"
    r"[^\W\d_a-z][\w'’.\-]*)*"
)
"""The subject of a question: consecutive capitalised words, with particles such as "of" between."""
_FOLLOW_UP = re.compile(
    rf"(?:and|but|so|ok,?|okay,?)?\s*(?P<wh>{_PLACE_WORDS}(?:who|whom|what|which|when|where|how)"
    r"(?:\s+(?:city|country|town|year|day|place|state))?)\s*[?？]*\Z",
    re.IGNORECASE,
)
_OTHER_SUBJECT = re.compile(
    r"(?:(?:and|but|so)\s+(?:what about|how about|of|for)?|what about|how about)\s*"
    r"(?P<name>(?:the\s+)?(?-i:[^\W\d_a-z]).*?)\s*[?？]*\Z",
    re.IGNORECASE | re.DOTALL,
)
_PRONOUN = re.compile(r"(?:he|she|it|they)\b", re.IGNORECASE)
_TO_THE_MODEL = re.compile(r"\b(?:you|your|i|me|my|we|us|our)\b", re.IGNORECASE)

_FULL_DATE = re.compile(r"(?i)\d{1,2}\s+[a-z]{3,}|[a-z]{3,}\s+\d{1,2}\b|\d[/.-]\d")
_DATE_START = re.compile(
    rf"\d|the \d|(?:{'|'.join(MONTHS)}|spring|summer|autumn|winter)\b", re.IGNORECASE
)

LONGEST_QUESTION = 300
"""Maximum length in characters of a question for which the start of a sentence is suggested."""

_ASKS_PLACE = re.compile(
    rf"{_PLACE_WORDS}(?:where|(?:what|which) (?:city|country|town|place|state|village|region"
    r"|county|island|province|district))\b|.*\b(?:birthplace|hometown|place of (?:birth|death))\b",
    re.IGNORECASE,
)
_WORK = r"(?:occupation|profession|job|trade|vocation|career|line of work)"
_OCCUPATION = re.compile(
    rf"(?:what (?P<be>is|was) (?:the {_WORK} of (?P<of>.+?)|(?P<whose>.+?)['’]s? {_WORK})"
    r"|what (?:(?:kind|sort|type) of work )?(?P<do>does|did) (?P<who>.+?) (?:do|work as)"
    r"(?: for (?:a|his|her|their) living)?)"
    r"[\s.?？!]*\Z",
    re.IGNORECASE | re.DOTALL,
)

Expected = Literal["date", "number", "name", ""]


@dataclass(frozen=True, slots=True)
class Question:
    """The user's message that an answer replies to, and the conversation before it."""

    text: str
    """The message; words that a follow-up such as "And where?" leaves out are filled in."""
    turns: tuple[str, ...] = ()
    """The earlier messages of user and assistant, oldest first."""
    asks: bool = True
    """True if it asks for a fact that one value can answer. Requests such as "Write a poem",
    questions for explanations ("How do I ...", "Why ...") and questions about the model or the user
    ("What is your name?") do not."""

    @property
    def shown(self) -> str:
        """The conversation up to the question, one paragraph per message."""
        return "\n\n".join((*self.turns, self.text))

    @property
    def expects(self) -> Expected:
        """The kind of value that the question's first words ask for; "" for any."""
        return expected_kind(self.text)

    @property
    def asks_place(self) -> bool:
        """True if it asks for a place: "Where was she born?", "In what city ...?"."""
        return _ASKS_PLACE.match(self._words) is not None

    @property
    def asks_occupation(self) -> bool:
        """True if it asks what someone is or does: "What is her occupation?", "What did he do?"."""
        return _occupation(self._words) is not None

    @property
    def _words(self) -> str:
        """The question without "Can you tell me"."""
        indirect = _INDIRECT.match(self.text)
        return indirect["wh"] if indirect else self.text

    @property
    def noun(self) -> str:
        """The noun after "what" or "which": "sport" in "What sport does ...?"."""
        asked = _ASKED.match(self.text)
        return asked["noun"].strip() if asked else ""

    @property
    def name(self) -> str:
        """The capitalised words that the question is about, or ""."""
        asked = _ASKED.match(self.text)
        found = _NAME.search(asked["rest"] if asked else self.text)
        return re.sub(r"['’]s?\Z", "", found.group()) if found else ""

    def opening(self, subject: str = "") -> str:
        """Return the beginning of a statement that a value completes, or "" if there is none.

        Args:
            subject: the name that the question is about, as the question spells it, if known.
        """
        blank = around_blank(self.text)
        return blank[0] if blank else statement_start(self.text, subject)

    @property
    def is_single(self) -> bool:
        """True if it asks for nothing else, so that one statement is a whole answer."""
        words = r"\b(?:who|whom|whose|what|which|when|where|why|how)\b|\b(?:explain|describe)\b"
        return len(re.findall(words, self.text, re.IGNORECASE)) <= 1

    def closing(self) -> str:
        """Return the words after the value that complete the statement, without a full stop."""
        if blank := around_blank(self.text):
            return blank[1]
        if _ASKED.match(self.text) or _REQUEST.match(self.text) or _INDIRECT.match(self.text):
            return ""
        bare = _BARE.match(self.text)
        if bare is None:
            return ""
        return " ".join(filter(None, (bare["noun"].strip() * bare["wh"].lower().startswith("how"),
                                      bare["verb"], bare["rest"])))  # fmt: skip

    def about(self, subject: str) -> Question:
        """Return the question with a pronoun replaced by the subject that it stands for."""
        if not subject or subject.casefold() in self.text.casefold():
            return self
        possessive = re.sub(r"\b(?:his|her|its|their)\b", f"{subject}'s", self.text, count=1)
        text = possessive if possessive != self.text else re.sub(
            r"\b(?:he|she|it|they)\b", subject, self.text, count=1
        )  # fmt: skip
        return Question(text, self.turns, self.asks)

    def small_words(self, opening: str, value: str) -> tuple[str, ...]:
        """Return the words that may stand between the opening and a value, such as "in" or "a"."""
        if not opening or opening.rsplit(" ", 1)[-1].lower() in PREPOSITIONS:
            return ("", "the") if opening else ("",)
        asked = _ASKED.match(self.text)
        lead = asked["lead"].strip().lower() if asked else ""
        if self.expects == "date" and _DATE_START.match(value):
            return (lead or ("on" if _FULL_DATE.search(value) else "in"),)
        if lead:
            return (lead, f"{lead} the")
        if re.match(r"(?i)where\b", self.text) or (asked is None and " where " in self.text):
            return ("in", "at", "in the", "at the")
        if self.asks_occupation:
            return ("a", "an") if value[:1].islower() else ("", "a", "an", "the")
        if value[:1].islower():
            return ("", "a", "an", "the")
        return ("", "the")

    def is_open(self, subject: str) -> bool:
        """True if the question is about the subject as a whole: "Who is Ada Lovelace?"."""
        asked = _ASKED.match(self.text)
        if asked is None or asked["noun"] or asked["lead"]:
            return False
        who = asked["wh"].lower() in ("who", "what") and asked["verb"].lower() not in ("did", "do")
        return who and _is_only(asked["rest"], subject)


def question_in(messages: Sequence[Mapping[str, Any]]) -> Question | None:
    """Return the last message of a chat as a question; None if it is not the user's."""
    turns = [
        (str(message["role"]), text)
        for message in messages
        if message["role"] in ("user", "assistant")
        if (text := " ".join(str(message["content"]).split()))
    ]
    if not turns or turns[-1][0] != "user":
        return None
    text, context = unframed(str(messages[-1]["content"]))
    text = _complete(text, [text for role, text in turns[:-1] if role == "user"])
    earlier = (*(text for _, text in turns[:-1]), *filter(None, [context]))
    question = Question(text, earlier, asks_for_value(text))
    return replace(question, asks=False) if question.is_open("") else question


def asks_for_value(text: str) -> bool:
    """True if a message asks for a fact that one value can answer."""
    text = text.strip()
    if not text or len(text) > LONGEST_QUESTION:
        return False
    if around_blank(text):
        return _NAME.search(text) is not None
    indirect = _INDIRECT.match(text)
    question = indirect["wh"] if indirect else text
    if indirect is None and (request := _REQUEST.match(text)):
        noun_phrase = request["rest"]
        return re.search(r"(?i)^(?:the\s.+\sof\s|\S.*['’]s?\s+\w)", noun_phrase) is not None
    if _TO_THE_MODEL.search(question):
        return False
    if indirect is not None:
        return True
    asked = _ASKED.match(question)
    if asked is None:
        return _BARE.match(question) is not None and is_question(text)
    return asked["wh"].lower() != "how" and asked["verb"].lower() not in ("will", "can")


def expected_kind(question: str) -> Expected:
    """Return the kind of value that a question's first words ask for."""
    indirect = _INDIRECT.match(question)
    words = (indirect["wh"] if indirect else question).lower()
    if re.match(rf"{_PLACE_WORDS}(?:when|(?:what|which) (?:year|date|day|month|century))\b", words):
        return "date"
    if re.match(rf"how (?:{_MEASURES})\b", words):
        return "number"
    places = "city|country|town|place|state|village|continent|language|person|company|team|club"
    if re.match(rf"{_PLACE_WORDS}(?:who|whom|whose|where|(?:what|which) (?:{places}))\b", words):
        return "name"
    return ""


def statement_start(question: str, subject: str = "") -> str:
    """Return the beginning of a statement that answers a question, or "" if none can be formed.

    "When was Ada Lovelace born?" becomes "Ada Lovelace was born", "What is Ada's religion?" "Ada's
    religion is", and "What is Ada's occupation?" "Ada is". A question that asks for the subject of
    its verb ("Who founded Zynga?") has none: its answer begins with the value.

    Args:
        question: the question.
        subject: the name that it is about, if known; otherwise capitalised words are taken for it.
    """
    if indirect := _INDIRECT.match(question):
        clause = _INDIRECT_START.sub("", indirect["wh"])
        return _capitalised(clause) if _subject_at(clause, subject) else ""
    if found := _occupation(question):
        return " ".join(found)
    asked = _ASKED.match(question)
    if asked is None:
        request = _REQUEST.match(question)
        return _capitalised(f"{request['rest']} is") if request else ""
    verb, rest = asked["verb"].lower(), asked["rest"].strip()
    noun = asked["noun"].strip()
    name = _subject_at(rest, subject)
    if not name:
        if verb in ("did", "does", "do"):
            return ""
        if noun and not asked["lead"] and subject in rest:  # "What money is used in France?"
            return f"The {noun} {rest} {verb}"
        after = rest.find(subject) + len(subject) if subject and subject in rest else len(rest)
        if re.match(r"\s*(?:who|which|that|where)\b", rest[after:]):
            after = len(rest)
        return _capitalised(" ".join(filter(None, (rest[:after], verb, rest[after:].strip()))))
    tail = rest[len(name) :].strip()
    if re.match(r"['’]s?(?:\s|\Z)", rest[len(name) :]):  # "What is Ada's occupation?"
        return _capitalised(f"{rest} {verb}") if verb not in ("did", "does", "do") else ""
    if verb in ("did", "does", "do"):
        return _with_inflected_verb(name, verb, tail)
    if not tail and noun and not asked["lead"] and not asked["wh"].lower().startswith("how"):
        return f"The {noun} of {name} {verb}"
    return _capitalised(" ".join(filter(None, (name, verb, tail))))


def names_its_subject(question: str) -> bool:
    """True if a question has an auxiliary verb and a name behind it: "When was Ada born?"."""
    asked = _ASKED.match(question)
    return asked is not None and _NAME.match(asked["rest"].strip()) is not None


def _occupation(question: str) -> tuple[str, str] | None:
    """Return ("Ada", "is") for "What is Ada's occupation?"; None for other questions."""
    asked = _OCCUPATION.match(question.strip())
    if asked is None:
        return None
    name = _capitalised(asked["of"] or asked["whose"] or asked["who"])
    return name, "was" if (asked["be"] or asked["do"]).lower() in ("was", "did") else "is"


def _with_inflected_verb(name: str, auxiliary: str, tail: str) -> str:
    """Return "Ada died" for "did", "Ada", "die"; "" where the verb says nothing ("do")."""
    verb, _, more = tail.partition(" ")
    if not verb or verb == "do":
        return ""
    if auxiliary != "do":
        verb = past(verb) if auxiliary == "did" else third_person(verb)
    return _capitalised(" ".join(filter(None, (name, verb, more))))


def _subject_at(rest: str, subject: str) -> str:
    """Return the subject with which the rest of a question begins, or ""."""
    if subject:
        found = re.match(rf"(?:the\s+)?{re.escape(subject)}(?!\w)", rest, re.IGNORECASE)
        if found:
            return found.group()
    if pronoun := _PRONOUN.match(rest):
        return pronoun.group()
    name = _NAME.match(rest)
    if name is None or (subject and subject in rest[name.end() :]):  # "the ISO code for France"
        return ""
    return re.sub(r"['’]s?\Z", "", name.group())


def _is_only(rest: str, subject: str) -> bool:
    """True if the rest of a question is nothing but its subject."""
    return rest.strip() == _subject_at(rest.strip(), subject)


def _complete(text: str, earlier: Sequence[str]) -> str:
    """Fill in what a follow-up question leaves out, from the last complete question."""
    before = next((t for t in reversed(earlier) if _ASKED.match(t)), "")
    asked = _ASKED.match(before)
    if asked is None:
        return text
    if follow_up := _FOLLOW_UP.match(text):
        words = follow_up["wh"].strip().capitalize()
        return f"{words} {before[asked.start('verb') :]}"
    other = _OTHER_SUBJECT.match(text)
    rest = asked["rest"].strip()
    old = _NAME.search(rest)
    if other is None or old is None or _ASKED.match(text):
        return text
    name = re.sub(r"['’]s?\Z", "", old.group())
    return before.replace(name, other["name"], 1)


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def is_question(prompt: str) -> bool:
    """True if a prompt ends with a question, or is one without a question mark."""
    if _QUESTION.search(prompt[-LONGEST_QUESTION:]):
        return True
    return len(prompt) <= LONGEST_QUESTION and _UNMARKED.match(prompt.strip()) is not None
