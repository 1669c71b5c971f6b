r"""Patterns for numbers: digits with groups and fractions, number words, signs, scales.

Each constant is part of a verbose regular expression (a space is written ``\ ``). Runs of digits
are matched possessively and every repetition is bounded, so matching takes linear time.
"""

from __future__ import annotations

GAP = "[ \u00a0\u2009\u202f]"
"""A space inside a value."""

DASH = "[-\u2010-\u2015\u2212]"
"""Hyphens and dashes between the ends of a range."""

PARTS = "\u00bc-\u00be\u2150-\u215e"
"""Fractions that are a single character, such as ½."""

RAISED = "\u00b2\u00b3\u00b9\u2070\u2074-\u2079"

EXPONENT = rf"""(?:
    {GAP}?[×x*·]{GAP}?10(?:\^?[-+\u2212]?\d{{1,4}}|[⁺⁻]?[{RAISED}]{{1,4}})
  | [eE][-+\u2212]?\d{{1,3}}(?!\w)
)"""

DIGITS = rf"""(?:
    \d{{1,2}}(?:,\d{{2}}){{1,6}},\d{{3}}(?![\d,])                 # 12,34,567
  | \d{{1,3}}(?:,\d{{3}}){{1,12}}(?!\d)(?:\.\d{{1,30}}(?!\d))?    # 1,000,000.50
  | \d{{1,3}}(?:{GAP}\d{{3}}){{1,12}}(?!\d)(?:[.,]\d{{1,30}}(?!\d))?
  | \d{{1,3}}(?:['’]\d{{3}}){{1,12}}(?!\d)
  | \d{{1,3}}(?:\.\d{{3}}){{1,12}},\d{{1,30}}(?!\d)               # 1.234,50
  | \d++(?:\.\d++){{2,8}}                                         # 10.000.000, 2.0.1
  | \d++(?:[.,·]\d++)?
  | (?<![\w.])\.\d++
)"""

FRACTION = rf"""(?:
    \d++(?:{GAP}?[{PARTS}]|{GAP}\d{{1,2}}[/⁄]\d{{1,3}}(?!\d))     # 12½, 2 1/2
  | \d{{1,4}}[/⁄]\d{{1,4}}(?!\d)
  | [{PARTS}]
)"""

ONES = "one|two|three|four|five|six|seven|eight|nine"
TEENS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
SCALES = "hundred|thousand|million|billion|trillion|quadrillion|lakh|crore|dozen"
SMALL = rf"(?:(?:{TENS})(?:[- ](?:{ONES})\b)?|{TEENS}|{ONES})"
_LARGE = rf"(?:(?:{SMALL}|an?|several)(?:[ -](?:{SCALES})s?){{1,2}})"

WORDS = rf"""(?i:
    (?:{_LARGE}(?:,?\ and\ |,?[ -])){{0,4}}(?:{_LARGE}|{SMALL})
        (?:\ and\ an?\ (?:half|quarter))?(?:[ -](?:{SCALES})s?)?
  | half\ an?\ (?:{SCALES})
)\b"""
"""Two hundred and fifty; one and a half million; half a million."""

_PART = "half|third|quarter|fifth|sixth|eighth|tenth"
PARTS_IN_WORDS = rf"(?:{_PART})(?=[ ]of\b|[.,;)])"
"""A fraction word after "a"; the look-ahead excludes "a third person"."""

_PARTS = (
    "half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?"
    "|hundredths?|thousandths?"
)
FRACTION_WORDS = rf"(?i:an?\ {PARTS_IN_WORDS}|(?:{ONES}|{TEENS})[- ](?:{_PARTS})\b)"

SCALE = rf"""(?:
    (?:{GAP}|-)(?i:{SCALES})s?\b(?:\ (?:{SCALES})\b)?
  | {GAP}?(?:mn|mln|bn|tn|trn)\b
  | [kKmMB](?!\w)
)"""
"""Multipliers after digits: 3.5m, 1.2 billion."""

SIGN = rf"""(?:
    (?<![\w)\]%])[-+\u2013\u2212](?=[\d.]|{GAP}?[$£€¥])
  | [±~∼≈<>≤≥]{GAP}?
  | (?i:minus|negative)[ ]
)"""

COUNT = rf"""(?:{SIGN}?(?:
    (?:{FRACTION}|{DIGITS}){EXPONENT}?{SCALE}?(?:\+(?![\w+]))? | {FRACTION_WORDS} | {WORDS}
))"""
"""A number with its sign and scale."""

FIGURE = rf"(?:{SIGN}?(?:{FRACTION}|{DIGITS}){EXPONENT}?)"
"""A number in digits, with its sign."""

ORDINAL = r"(?:\d{1,4}(?:st|nd|rd|th)\b)"
ORDINAL_WORDS = (
    "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth"
    "|thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth"
    "|twenty-first|twenty-second"
)

FIRST_WORDS = frozenset(
    f"{ONES}|{TEENS}|{TENS}|{ORDINAL_WORDS}|a|an|half|several|minus|negative".split("|")
)
"""Lower-case words that can begin a number."""
