"""Remove the notation around a model's words: Markdown, tags, JSON, reasoning, labels.

A model that is asked for the next words of a text answers in the format it was trained on:
``**Kelfield**``, ``Answer: Kelfield``, ``{"answer": "Kelfield"}``, ``<think>...</think>Kelfield``.
None of this notation belongs in the text. Each function here removes one kind of notation.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

from lacy.remote import REASONING_TAG, without_reasoning

MARKUP = frozenset('<>*_`~#|[]{}"“”„«»‹›「」『』\\…&$◁【=\ue200\ufeff\u200b\u2060')
"""Without these characters, an answer contains no notation except labels and list markers."""

MAX_NESTING = 8
"""Maximum nesting of markers and labels to remove; real answers have fewer levels."""

MAX_CHARS = 4_000
"""Number of characters after the reasoning that are processed; units are shorter, regexes slow."""

QUOTES = {
    '"': '"', "“": "”", "”": "”", "„": "“”", "«": "»", "»": "«", "‹": "›", "'": "'", "‘": "’",
    "`": "`", "「": "」", "『": "』", "[": "]", "(": ")",
    "<": ">",
}  # fmt: skip
"""Closing characters of each opening quotation mark or bracket."""

_REASONING_END = re.compile(rf"</{REASONING_TAG}>|\[/THINK\]|◁/think▷", re.IGNORECASE)
_TASK = (
    r"(?:continue|complete|go on|find|give|answer|provide|output|produce|think|determine|figure"
    r"|recall|write|respond|be)"
)
_OPEN_REASONING = re.compile(
    r"\s*(?:(?:okay|ok|alright|all right|hmm+)[,.]+\s|let me |let['’]s (?:see|think|break)"
    rf"|the user |we (?:need|have|are asked|must|should) (?:to )?{_TASK}\b"
    rf"|i (?:need|should|have|must) (?:to )?{_TASK}\b|first, (?:i|let|we)\b|thinking process"
    r"|to (?:continue|complete) (?:the|this) )",
    re.IGNORECASE,
)
"""Typical beginnings of reasoning without a tag (the chat template may have opened it already)."""

_STEPS = re.compile(r"\W*(?:thoughts?|reasoning|analysis|question|q):", re.IGNORECASE)
_LAST_STEP = re.compile(r"\n\W*(?:final )?(?:answer|a):\s*", re.IGNORECASE)
"""Models may write steps ("Thought: ...") and then "Answer:" on a separate line."""

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})[ \t]*[\w+-]*[ \t]*\n(.*?)(?:\n?\s*\1.*)?\s*$", re.DOTALL)
_CONTROL = re.compile(
    r"<\|(?:im_start|start_header_id|start)\|>\s*(?:assistant|model)\b(?:<\|(?:end_header_id|message)\|>)?"
    r"|<start_of_turn>\s*model\b|<[|｜][^<>|｜\s]{1,40}[|｜]>|</?s>|<(?:eos|bos|pad|unk|(?:start|end)_of_turn|CALL)>"
    r"|\[/?INST\]"
)
_BLOCK = re.compile(
    r"</?(?:text|answer|output|response|result|continuation|completion|final(?:_answer)?|value"
    r"|words?|fact|br|p|div|li|ul|ol|h[1-6]|pre|blockquote|tr|table|body|html)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_INLINE = re.compile(
    r"</?(?:a|b|i|u|em|strong|code|span|sup|sub|mark|cite|q|small|font|tt|kbd|td|th)"
    r"(?:\s[^<>]*)?/?>|<!--.*?-->",
    re.IGNORECASE | re.DOTALL,
)
_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[0-9a-f]{1,6}|[a-z]{2,8});", re.IGNORECASE)
_CITATION = re.compile(
    r"(?<=[^\s\]])[ \t]?(?:\[\^?\d{1,3}(?:[ \t]?[,–-][ \t]?\d{1,3})*\](?:\([^()\s]*\))?)+"
    r"|【[^】]*】|\ue200[^\ue201]*\ue201|<sup>\[[\d, ]{1,9}\]</sup>"
    r"|(?:(?<=[^\W\d_]{3})|(?<=[.,;)]))[ \t]?<sup>\d{1,3}</sup>"
    r"|(?<=[^\s\]])[ \t]?\[source\]\([^()\s]*\)"
)
"""One or more citations: ``[1][2]``, ``[3, 4]``, ``[5](https://...)``."""
_SUPERSCRIPT = re.compile(r"<sup>([-−+]?\d{1,3})</sup>")
_SUPERSCRIPT_DIGITS = str.maketrans("0123456789-−+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻⁺")
_IMAGE = re.compile(r"!\[[^\[\]]*\]\([^()\s]*(?:\s+\"[^\"]*\")?\)")
_LINK = re.compile(
    r"\[([^\[\]]+)\](?:\((?:[^()\s]|\([^()\s]*\))*(?:\s+\"[^\"]*\")?\)|\[[^\[\]]*\])"
)
_WIKI = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
_STRIKETHROUGH = re.compile(r"~~[^~\n]*~~")
_HIGHLIGHT = re.compile(r"==(?=\S)([^=\n]*\S)==")
_BLANK_LINE = re.compile(r"_{3,}(?!\w)")
_BACKTICKS = re.compile(r"(?<!\w)`+|`+(?!\w)|`{2,}")
_EMPHASIS = re.compile(r"\*+|_+")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_ELISION = re.compile(r"'[a-zA-Z]{1,3}\b")
"""An apostrophe that belongs to a name: 's-Hertogenbosch."""
_MATHS = re.compile(
    r"^\s*(?:\\\((?P<a>.*)\\\)|\\\[(?P<b>.*)\\\]|\$\$(?P<c>.*)\$\$|\$(?P<d>[^$]*)\$)\s*\.?\s*$",
    re.DOTALL,
)
_BOXED = re.compile(r"\\(?:boxed|text|mathrm|mathbf|textbf|textit|emph)\{([^{}]*)\}?")

_MONTH = r"(?:jan|feb|m[aä]r|apr|ma[iy]|ju[nl]|aug|sep|o[ck]t|nov|de[cz]|janv|f[eé]v|avr|ao[uû])"
_LINE_MARKERS = (
    re.compile(r"[#]{1,6}[ \t]+"),
    re.compile(r">[ \t]?(?=\S)"),
    re.compile(r"(?:[-=]>|→|⇒|➜)[ \t]*(?=\S)"),
    re.compile(r"[-*+•‣◦▪·–—][ \t]+(?:\[[ xX]?\][ \t]+)?"),
    re.compile(rf"(?:\(?[1aA]\)|1\.)[ \t]+(?!{_MONTH})", re.IGNORECASE),
    re.compile(r"(?:[-*_=][ \t]*){3,}(?:\n|$)"),
)
_DOTS = re.compile(r"(?:…|\.\.\.+)\s*")

_NOUN = (
    r"(?:answer|continuation|completion|next (?:few )?words?|missing (?:words?|part)|response"
    r"|output|result|solution|text continues)"
)
_ADJECTIVES = (
    r"(?:(?:correct|final|right|best|most likely|likely|short|direct|true|actual|possible) )*"
)
_LABEL = re.compile(
    rf"(?:(?:i (?:think|believe) )?(?:the |my |your )?{_ADJECTIVES}{_NOUN}"
    rf"(?:(?: (?:to|of|for|that|in|with|here) [^:\n]{{0,60}})?"
    rf"(?:[ \t]*(?::|=|->|→|⇒|\n)|[ \t]+[–—-][ \t])"
    r"|(?: (?:to|of|for) [^:\n.]{0,60}?)? (?:is|are|would be|should be|reads|with|as)(?: that)?\b"
    r"[ \t]*:?)"
    r"|(?:here(?:['’]s| is| are)|this is) (?:the|your|a|one|my) [^:\n]{0,80}:"
    r"|here (?:you go|it is)[ \t]*[:!,.]"
    r"|(?:based on|according to) (?:the|this) (?:text|context|passage|information|sentence)"
    r"[^,:\n]{0,40}[,:]"
    r"|continu(?:ing|ed)(?: [^:\n]{0,40})?:|(?:assistant|ai|model|bot|chatbot|gpt|a|text|value)"
    r":(?!//))\s*",
    re.IGNORECASE,
)
_ACKNOWLEDGEMENT = re.compile(
    r"(?:sure(?: thing)?|certainly|of course|absolutely|understood|got it|no problem|gladly|okay|ok"
    r"|great|perfect|great question|good question|happy to help)"
    r"(?:!+|[,.:](?=\s*\n)|[,.:—–-]+(?=\s*(?:here\b|this is\b|the (?:answer|continuation|next)))"
    r"|(?<=sure)[,.:—–-]+)\s*",
    re.IGNORECASE,
)
_LABEL_WORDS = (
    "answer", "final", "correct", "right", "best", "most likely", "likely", "short", "direct",
    "true", "actual", "possible", "continuation", "completion", "next", "missing", "response",
    "output", "result", "solution", "text continues", "user", "text:", "value:",
)  # fmt: skip
_PREAMBLES = (
    *(f"{article}{noun}" for article in ("", "the ", "my ", "your ") for noun in _LABEL_WORDS),
    "here", "this is ", "continuing", "continued", "assistant", "ai:", "model:", "bot:", "gpt:",
    "chatbot", "a:", "sure", "certainly", "of course", "absolutely", "understood",
    "got it", "no problem", "gladly", "ok", "great", "perfect", "good question", "happy to",
    "alright", "all right", "hmm", "let me", "let's", "let’s", "we ", "i ", "first, ", "thinking",
    "to continue", "to complete", "unfortunately", "based on", "according to", "thought",
    "reasoning", "analysis:", "question", "q:",
)  # fmt: skip
"""Beginnings of labels, acknowledgements and reasoning; such an answer is read to its end."""

_LONGEST_PREAMBLE = max(map(len, _PREAMBLES))
_NUMBERED = re.compile(r"\(?[1aA](?:[.)]|$)|\($")
_REFUSAL = re.compile(
    r"(?:sorry\b|i['’]?\s?a?m (?:very |so )?sorry"
    r"|unfortunately,? (?:i|there|we|no)\b|apologies\b|i apologi[sz]e\b"
    r"|i (?:cannot|can ?not|can['’]t|am unable|am not able|do not have|don['’]t (?:have|know)"
    r"|won['’]t|am not sure|could(?:n['’]t| not))"
    r"|i['’]m (?:unable|not able|not sure)|as an ai\b|there is (?:no|not enough) information)",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(
    r"(?:n/?a|n\.a|none|null|nil|unknown|undefined|no (?:answer|data|information)"
    r"|not (?:available|specified|provided|known|mentioned|stated|given|applicable|found))[.!]?",
    re.IGNORECASE,
)
"""A chat answer that matches this contains no fact."""
_PLACEHOLDER = re.compile(
    r"[\[<{(](?:insert|your|unknown|redacted|blank|placeholder|name|place|city|date)\b[^\]>})]*[\]>})]",
    re.IGNORECASE,
)
_ANSWER_KEYS = (
    "answer", "continuation", "completion", "text", "output", "response", "result", "value",
    "content", "words", "word", "next", "final_answer", "next_words", "fact",
)  # fmt: skip


def without_notation(answer: str) -> str:
    """Remove reasoning, JSON, code fences, tags and inline markup from an answer."""
    body = after_reasoning(answer).strip()[:MAX_CHARS]
    body = _FENCE.sub(r"\2", _without_control(body)).strip()
    if body[:1] in ("{", "[") or (body[:1] == '"' and "\\" in body):
        body = _from_json(body)
    return without_markup(body.replace("|", "\n") if body.startswith("|") else body)


def after_reasoning(answer: str) -> str:
    """Return the part of an answer after its reasoning, or "" if the reasoning has not ended."""
    body = without_reasoning(answer.lstrip("\ufeff\u200b\u2060"))
    if _OPEN_REASONING.match(body) and (end := _REASONING_END.search(body)):
        return after_reasoning(body[end.end() :])
    if _STEPS.match(body) and (end := _LAST_STEP.search(body)):
        return body[end.end() :]
    return body


def ends_in_control(answer: str) -> bool:
    """True if an answer ends with a control token, such as the end of a turn."""
    body = answer.rstrip()
    return any(match.end() == len(body) for match in _CONTROL.finditer(body))


def is_reasoning(answer: str) -> bool:
    """True if an answer contains only reasoning."""
    return bool(answer.strip()) and not after_reasoning(answer).strip()


def is_refusal(answer: str) -> bool:
    """True if the answer is about the model or its task and does not continue the text."""
    body = after_reasoning(answer)
    if _OPEN_REASONING.match(body) or _STEPS.match(body):
        return True
    if _PLACEHOLDER.match(without_preamble(body)):
        return True
    return _REFUSAL.match(without_quotes(without_preamble(without_notation(body)))) is not None


def is_no_answer(answer: str) -> bool:
    """True if the answer only says that there is no answer: "N/A", "unknown"."""
    words = without_quotes(without_preamble(without_notation(after_reasoning(answer))))
    return _NO_ANSWER.fullmatch(words.strip()) is not None


def starts_plainly(answer: str) -> bool:
    """True if an answer that starts like this cannot begin with a label, reasoning or a marker."""
    low = " ".join(answer[: 3 * _LONGEST_PREAMBLE].split()).lower()
    if _NUMBERED.match(low) or low.startswith(_PREAMBLES):
        return False
    return len(low) >= _LONGEST_PREAMBLE or not any(start.startswith(low) for start in _PREAMBLES)


def without_preamble(body: str) -> str:
    """Remove line markers, labels and acknowledgements at the start."""
    for _ in range(MAX_NESTING):
        rest = body.lstrip()
        for pattern in (*_LINE_MARKERS, _DOTS, _ACKNOWLEDGEMENT):
            if match := pattern.match(rest):
                rest = rest[match.end() :]
        rest = _strip_label(rest)
        if rest == body:
            break
        body = rest
    return body


def without_label(body: str) -> str:
    """Remove labels and acknowledgements at the start, unless they begin in lower case."""
    for _ in range(MAX_NESTING):
        if not body[:1].isupper():
            break
        match = _ACKNOWLEDGEMENT.match(body)
        rest = body[match.end() :] if match else _strip_label(body)
        if rest == body:
            break
        body = rest
    return body


def _strip_label(body: str) -> str:
    """Remove a label such as "Answer:" or "The answer is", but not "the result is" in prose."""
    match = _LABEL.match(body)
    if match is None:
        return body
    sign = not match.group().rstrip()[-1:].isalnum() or "\n" in match.group()
    return body[match.end() :] if sign or body[0].isupper() else body


def without_quotes(body: str, *, closed: bool = False) -> str:
    """Remove quotes around the whole answer; also unclosed ones, unless ``closed`` is True."""
    close = QUOTES.get(body[:1])
    if close is None or len(body) < 2:
        return body
    inner = body[1:]
    whole = inner.rstrip(" .,!;")
    if whole[-1:] in (*close,) and whole and not any(mark in whole[:-1] for mark in close):
        return whole[:-1].strip() + inner[len(whole) :].strip()
    if closed or body[0] in "[(<" or _ELISION.match(body) or any(mark in inner for mark in close):
        return body
    return inner.strip()


def without_first_quotes(body: str) -> str:
    """Remove quotes around the first words if more words follow: `"A" (1901)`."""
    close = QUOTES.get(body[:1], "")
    if body[:1] in ("", "(", "[", "<") or _ELISION.match(body):
        return body
    end = min((place for mark in close if (place := body.find(mark, 1)) > 0), default=0)
    return body[1:end] + body[end + 1 :] if end else body


def without_markup(body: str) -> str:
    """Remove tags, links, citations, code, emphasis, escapes and entities."""
    if not MARKUP & set(body):
        return body
    if maths := _MATHS.match(body):
        body = next(part for part in maths.groups() if part is not None)
    body = _CITATION.sub("", _BOXED.sub(r"\1", body))  # "[1][2]" is two citations, not a link
    body = _SUPERSCRIPT.sub(lambda found: found[1].translate(_SUPERSCRIPT_DIGITS), body)
    body = _INLINE.sub("", _BLOCK.sub("\n", _without_control(body)))
    body = _LINK.sub(r"\1", _WIKI.sub(r"\1", _IMAGE.sub("", body)))
    body = _CITATION.sub("", body)
    body = _HIGHLIGHT.sub(r"\1", _STRIKETHROUGH.sub("", body))
    body = _BACKTICKS.sub("", _BLANK_LINE.sub("", body))
    body = _ESCAPE.sub(r"\1", _without_emphasis(body))
    return _ENTITY.sub(lambda found: html.unescape(found.group()), body)


def _without_control(body: str) -> str:
    """Remove control tokens at the start and replace the others by line ends."""
    while match := _CONTROL.match(body.lstrip()):
        body = body.lstrip()[match.end() :]
    return _CONTROL.sub("\n", body)


def _without_emphasis(body: str) -> str:
    """Remove ``*`` and ``_`` that open or close emphasis according to CommonMark.

    A single unpaired character belongs to a name ("A*"); escaped characters are literal.
    """
    open_now = {"*": 0, "_": 0}
    kept, last = [], 0
    for run in _EMPHASIS.finditer(body):
        before = body[run.start() - 1] if run.start() else ""
        after = body[run.end() : run.end() + 1]
        mark, size = run.group()[0], len(run.group())
        if before == "\\":
            continue
        left = bool(after.strip()) and not (before.isalnum() and (mark == "_" or size == 1))
        right = bool(before.strip()) and not (after.isalnum() and (mark == "_" or size == 1))
        digits = before.isdigit() and after.isdigit()
        closes = right and open_now[mark] > 0
        opens = left and not closes and not (before.isdigit() and size == 1)
        if size > 3 or digits or not (opens or closes or (size > 1 and right)):
            continue
        open_now[mark] = max(0, open_now[mark] + (size if opens else -size))
        kept.append(body[last : run.start()])
        last = run.end()
    return "".join([*kept, body[last:]])


def _from_json(body: str) -> str:
    """Return the text in a complete or truncated JSON answer; ``body`` itself if it is not JSON."""
    try:
        value, _ = json.JSONDecoder().raw_decode(body)
    except (ValueError, RecursionError):
        return _from_truncated_json(body)
    return _json_text(value, body)


def _json_text(value: Any, body: str) -> str:
    while isinstance(value, list) and value and not isinstance(value[0], int | float):
        value = value[0]
    if isinstance(value, dict):
        low = {str(key).lower(): inner for key, inner in value.items()}
        only = [*low.values()] if len(low) == 1 else []
        found = next((low[key] for key in _ANSWER_KEYS if key in low), only[0] if only else "")
        return "" if isinstance(found, dict | list | bool) or found is None else str(found)
    return value if isinstance(value, str) else body


def _from_truncated_json(body: str) -> str:
    """Return the answer from JSON that the token limit cut off inside a string."""
    start = re.match(r'\{\s*"(\w+)"\s*:\s*"((?:[^"\\]|\\.)*)', body)
    if start is None:
        return "" if re.match(r'\{\s*"?|\[\s*"', body) and not _LINK.match(body) else body
    if start[1].lower() not in _ANSWER_KEYS:
        return ""
    try:
        return str(json.loads(f'"{start[2]}"'))
    except ValueError:
        return start[2]
