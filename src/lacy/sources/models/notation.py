"""Removes the notation around a model's words: Markdown, tags, JSON, reasoning, labels.

A model that is asked for the next words of a text answers in the format it was trained on:
``**Kelfield**``, ``Answer: Kelfield``, ``{"answer": "Kelfield"}``, ``<think>...</think>Kelfield``.
This notation does not belong in the text. Each function here removes one kind of it.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

from lacy.remote import REASONING_TAG, without_reasoning

SIGNS = frozenset('<>*_`~#|[]{}"“”„«»‹›「」『』\\…&$◁【=\ue200\ufeff\u200b\u2060')
"""An answer without these contains no notation except marks and labels at its beginning."""

DEEPEST = 8
"""Most nested marks and labels that are removed; more than any real answer has."""

MOST = 4_000
"""Characters after the reasoning that are processed: units are shorter, and patterns are slow."""

QUOTES = {
    '"': '"', "“": "”", "”": "”", "„": "“”", "«": "»", "»": "«", "‹": "›", "'": "'", "‘": "’",
    "`": "`", "「": "」", "『": "』", "[": "]", "(": ")",
    "<": ">",
}  # fmt: skip
"""Opening marks, and those that close them."""

_THOUGHT_END = re.compile(rf"</{REASONING_TAG}>|\[/THINK\]|◁/think▷", re.IGNORECASE)
_TASK = (
    r"(?:continue|complete|go on|find|give|answer|provide|output|produce|think|determine|figure"
    r"|recall|write|respond|be)"
)
_ALOUD = re.compile(
    r"\s*(?:(?:okay|ok|alright|all right|hmm+)[,.]+\s|let me |let['’]s (?:see|think|break)"
    rf"|the user |we (?:need|have|are asked|must|should) (?:to )?{_TASK}\b"
    rf"|i (?:need|should|have|must) (?:to )?{_TASK}\b|first, (?:i|let|we)\b|thinking process"
    r"|to (?:continue|complete) (?:the|this) )",
    re.IGNORECASE,
)
"""How reasoning begins if the chat template has already opened its tag."""

_STEPS = re.compile(r"\W*(?:thoughts?|reasoning|analysis|question|q):", re.IGNORECASE)
_LAST_STEP = re.compile(r"\n\W*(?:final )?(?:answer|a):\s*", re.IGNORECASE)
"""How models write steps before an answer: "Thought: ..." and, on a separate line, "Answer:"."""

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
_REFERENCE = re.compile(
    r"(?<=[^\s\]])[ \t]?(?:\[\^?\d{1,3}(?:[ \t]?[,–-][ \t]?\d{1,3})*\](?:\([^()\s]*\))?)+"
    r"|【[^】]*】|\ue200[^\ue201]*\ue201|<sup>\[[\d, ]{1,9}\]</sup>"
    r"|(?:(?<=[^\W\d_]{3})|(?<=[.,;)]))[ \t]?<sup>\d{1,3}</sup>"
    r"|(?<=[^\s\]])[ \t]?\[source\]\([^()\s]*\)"
)
"""Marks of sources, one or several: ``[1][2]``, ``[3, 4]``, ``[5](https://...)``."""
_POWER = re.compile(r"<sup>([-−+]?\d{1,3})</sup>")
_RAISED = str.maketrans("0123456789-−+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻⁺")
_IMAGE = re.compile(r"!\[[^\[\]]*\]\([^()\s]*(?:\s+\"[^\"]*\")?\)")
_LINK = re.compile(
    r"\[([^\[\]]+)\](?:\((?:[^()\s]|\([^()\s]*\))*(?:\s+\"[^\"]*\")?\)|\[[^\[\]]*\])"
)
_WIKI = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
_STRUCK = re.compile(r"~~[^~\n]*~~")
_LIGHT = re.compile(r"==(?=\S)([^=\n]*\S)==")
_BLANK = re.compile(r"_{3,}(?!\w)")
_TICKS = re.compile(r"(?<!\w)`+|`+(?!\w)|`{2,}")
_EMPHASIS = re.compile(r"\*+|_+")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_ELIDED = re.compile(r"'[a-zA-Z]{1,3}\b")
"""An apostrophe that belongs to a name: 's-Hertogenbosch."""
_MATHS = re.compile(
    r"^\s*(?:\\\((?P<a>.*)\\\)|\\\[(?P<b>.*)\\\]|\$\$(?P<c>.*)\$\$|\$(?P<d>[^$]*)\$)\s*\.?\s*$",
    re.DOTALL,
)
_BOXED = re.compile(r"\\(?:boxed|text|mathrm|mathbf|textbf|textit|emph)\{([^{}]*)\}?")

_MONTH = r"(?:jan|feb|m[aä]r|apr|ma[iy]|ju[nl]|aug|sep|o[ck]t|nov|de[cz]|janv|f[eé]v|avr|ao[uû])"
_MARKS = (
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
_KIND = r"(?:(?:correct|final|right|best|most likely|likely|short|direct|true|actual|possible) )*"
_LABEL = re.compile(
    rf"(?:(?:i (?:think|believe) )?(?:the |my |your )?{_KIND}{_NOUN}"
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
_AGREED = re.compile(
    r"(?:sure(?: thing)?|certainly|of course|absolutely|understood|got it|no problem|gladly|okay|ok"
    r"|great|perfect|great question|good question|happy to help)"
    r"(?:!+|[,.:](?=\s*\n)|[,.:—–-]+(?=\s*(?:here\b|this is\b|the (?:answer|continuation|next)))"
    r"|(?<=sure)[,.:—–-]+)\s*",
    re.IGNORECASE,
)
_NAMED = (
    "answer", "final", "correct", "right", "best", "most likely", "likely", "short", "direct",
    "true", "actual", "possible", "continuation", "completion", "next", "missing", "response",
    "output", "result", "solution", "text continues", "user", "text:", "value:",
)  # fmt: skip
_STARTS = (
    *(f"{article}{noun}" for article in ("", "the ", "my ", "your ") for noun in _NAMED),
    "here", "this is ", "continuing", "continued", "assistant", "ai:", "model:", "bot:", "gpt:",
    "chatbot", "a:", "sure", "certainly", "of course", "absolutely", "understood",
    "got it", "no problem", "gladly", "ok", "great", "perfect", "good question", "happy to",
    "alright", "all right", "hmm", "let me", "let's", "let’s", "we ", "i ", "first, ", "thinking",
    "to continue", "to complete", "unfortunately", "based on", "according to", "thought",
    "reasoning", "analysis:", "question", "q:",
)  # fmt: skip
"""How labels, acknowledgements and reasoning begin; such an answer is read to its end."""

_LONGEST = max(map(len, _STARTS))
_NUMBERED = re.compile(r"\(?[1aA](?:[.)]|$)|\($")
_REFUSAL = re.compile(
    r"(?:sorry\b|i['’]?\s?a?m (?:very |so )?sorry"
    r"|unfortunately,? (?:i|there|we|no)\b|apologies\b|i apologi[sz]e\b"
    r"|i (?:cannot|can ?not|can['’]t|am unable|am not able|do not have|don['’]t (?:have|know)"
    r"|won['’]t|am not sure|could(?:n['’]t| not))"
    r"|i['’]m (?:unable|not able|not sure)|as an ai\b|there is (?:no|not enough) information)",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"(?:n/?a|n\.a|none|null|nil|unknown|undefined|no (?:answer|data|information)"
    r"|not (?:available|specified|provided|known|mentioned|stated|given|applicable|found))[.!]?",
    re.IGNORECASE,
)
"""A chat's answer of nothing but this names no fact."""
_PLACEHOLDER = re.compile(
    r"[\[<{(](?:insert|your|unknown|redacted|blank|placeholder|name|place|city|date)\b[^\]>})]*[\]>})]",
    re.IGNORECASE,
)
_KEYS = (
    "answer", "continuation", "completion", "text", "output", "response", "result", "value",
    "content", "words", "word", "next", "final_answer", "next_words", "fact",
)  # fmt: skip


def plain(answer: str) -> str:
    """An answer without reasoning, JSON, fences, tags and inline marks."""
    body = without_thoughts(answer).strip()[:MOST]
    body = _unfenced(_without_control(body)).strip()
    if body[:1] in ("{", "[") or (body[:1] == '"' and "\\" in body):
        body = _from_json(body)
    return inline(body.replace("|", "\n") if body.startswith("|") else body)


def without_thoughts(answer: str) -> str:
    """The part of an answer after its reasoning; "" while the reasoning lasts."""
    body = without_reasoning(answer.lstrip("\ufeff\u200b\u2060"))
    if _ALOUD.match(body) and (end := _THOUGHT_END.search(body)):
        return without_thoughts(body[end.end() :])
    if _STEPS.match(body) and (end := _LAST_STEP.search(body)):
        return body[end.end() :]
    return body


def thinks(answer: str) -> bool:
    """Whether an answer contains reasoning and nothing else."""
    return bool(answer.strip()) and not without_thoughts(answer).strip()


def refuses(answer: str) -> bool:
    """Whether a model speaks of itself or its task instead of continuing the text."""
    body = without_thoughts(answer)
    if _ALOUD.match(body) or _STEPS.match(body) or _PLACEHOLDER.match(opened(body)):
        return True
    return _REFUSAL.match(unquoted(opened(plain(body)))) is not None


def names_nothing(answer: str) -> bool:
    """Whether all that an answer says is that there is none: "N/A", "unknown"."""
    bare = unquoted(opened(plain(without_thoughts(answer))))
    return _NOTHING.fullmatch(bare.strip()) is not None


def begins_plainly(answer: str) -> bool:
    """Whether this beginning of an answer cannot become a label, reasoning or a list marker."""
    low = " ".join(answer[: 3 * _LONGEST].split()).lower()
    if _NUMBERED.match(low) or low.startswith(_STARTS):
        return False
    return len(low) >= _LONGEST or not any(start.startswith(low) for start in _STARTS)


def opened(body: str) -> str:
    """Removes line markers, labels and acknowledgements at the beginning."""
    for _ in range(DEEPEST):
        rest = body.lstrip()
        for pattern in (*_MARKS, _DOTS, _AGREED):
            if found := pattern.match(rest):
                rest = rest[found.end() :]
        rest = _unlabelled(rest)
        if rest == body:
            break
        body = rest
    return body


def labelled(body: str) -> str:
    """Removes labels and acknowledgements at the beginning; in lower case they are words."""
    for _ in range(DEEPEST):
        if not body[:1].isupper():
            break
        rest = body[found.end() :] if (found := _AGREED.match(body)) else _unlabelled(body)
        if rest == body:
            break
        body = rest
    return body


def _unlabelled(body: str) -> str:
    """Removes a label: "Answer:", "The answer is", but not "the result is" inside a sentence."""
    found = _LABEL.match(body)
    if found is None:
        return body
    sign = not found.group().rstrip()[-1:].isalnum() or "\n" in found.group()
    return body[found.end() :] if sign or body[0].isupper() else body


def unquoted(body: str, *, closed: bool = False) -> str:
    """Removes marks that enclose the whole answer, or (unless ``closed``) were never closed."""
    close = QUOTES.get(body[:1])
    if close is None or len(body) < 2:
        return body
    inner = body[1:]
    whole = inner.rstrip(" .,!;")
    if whole[-1:] in (*close,) and whole and not any(mark in whole[:-1] for mark in close):
        return whole[:-1].strip() + inner[len(whole) :].strip()
    if closed or body[0] in "[(<" or _ELIDED.match(body) or any(mark in inner for mark in close):
        return body
    return inner.strip()


def unpaired(body: str) -> str:
    """Removes quotation marks around the first words if others follow: `"A" (1901)`."""
    close = QUOTES.get(body[:1], "")
    if body[:1] in ("", "(", "[", "<") or _ELIDED.match(body):
        return body
    end = min((place for mark in close if (place := body.find(mark, 1)) > 0), default=0)
    return body[1:end] + body[end + 1 :] if end else body


def inline(body: str) -> str:
    """Removes tags, links, references, code marks, emphasis, escapes and entities."""
    if not SIGNS & set(body):
        return body
    if maths := _MATHS.match(body):
        body = next(part for part in maths.groups() if part is not None)
    body = _REFERENCE.sub("", _BOXED.sub(r"\1", body))  # "[1][2]" is two marks and no link
    body = _POWER.sub(lambda found: found[1].translate(_RAISED), body)
    body = _INLINE.sub("", _BLOCK.sub("\n", _without_control(body)))
    body = _LINK.sub(r"\1", _WIKI.sub(r"\1", _IMAGE.sub("", body)))
    body = _REFERENCE.sub("", body)
    body = _LIGHT.sub(r"\1", _STRUCK.sub("", body))
    body = _TICKS.sub("", _BLANK.sub("", body))
    body = _unescaped(_without_emphasis(body))
    return _ENTITY.sub(lambda found: html.unescape(found.group()), body)


def _without_control(body: str) -> str:
    """Cuts the answer at its first control token, after removing those at its beginning."""
    while found := _CONTROL.match(body.lstrip()):
        body = body.lstrip()[found.end() :]
    return _CONTROL.sub("\n", body)


def _unfenced(body: str) -> str:
    fence = _FENCE.match(body)
    return fence[2] if fence else body


def _unescaped(body: str) -> str:
    return _ESCAPE.sub(r"\1", body)


def _without_emphasis(body: str) -> str:
    """Removes ``*`` and ``_`` that open or close emphasis according to CommonMark.

    A single one without a partner belongs to a name ("A*"); escaped ones are literal.
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
    """The words in a JSON answer, complete or cut off; the body itself if it is not JSON."""
    try:
        value, _ = json.JSONDecoder().raw_decode(body)
    except (ValueError, RecursionError):
        return _from_cut_json(body)
    return _words_of(value, body)


def _words_of(value: Any, body: str) -> str:
    while isinstance(value, list) and value and not isinstance(value[0], int | float):
        value = value[0]
    if isinstance(value, dict):
        low = {str(key).lower(): inner for key, inner in value.items()}
        only = [*low.values()] if len(low) == 1 else []
        found = next((low[key] for key in _KEYS if key in low), only[0] if only else "")
        return "" if isinstance(found, dict | list | bool) or found is None else str(found)
    return value if isinstance(value, str) else body


def _from_cut_json(body: str) -> str:
    """A JSON string that the token limit cut off, if it is the answer."""
    start = re.match(r'\{\s*"(\w+)"\s*:\s*"((?:[^"\\]|\\.)*)', body)
    if start is None:
        return "" if re.match(r'\{\s*"?|\[\s*"', body) and not _LINK.match(body) else body
    if start[1].lower() not in _KEYS:
        return ""
    try:
        return str(json.loads(f'"{start[2]}"'))
    except ValueError:
        return start[2]
