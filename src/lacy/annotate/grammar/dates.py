"""Patterns for dates, times, decades, centuries and eras in English."""

from __future__ import annotations

from lacy._text import MONTHS
from lacy.annotate.grammar.numbers import DASH, GAP, ONES, ORDINAL, ORDINAL_WORDS, TEENS, TENS

_MONTHS = "|".join(MONTHS)
MONTH = rf"(?:(?:{_MONTHS})\b|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?)"
DAY = r"(?:(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?(?![\d\w]))"
WEEKDAY = (
    r"(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"
    r"|(?:Mon|Tues?|Wed|Thurs?|Fri|Sat|Sun)\b\.?(?=,?\ \d))"
)
YEAR = r"(?:(?:1\d{3}|20\d{2})(?!\d))"
_YEARS = r"(?:\d{1,3}(?:,\d{3}){1,3}|\d{1,5})(?!\d)"
_ERA = (
    r"(?:BCE?|CE|AD|BP|AH|bce?|B\.\ ?C\.(?:\ ?E\.)?|A\.\ ?D\.|C\.\ ?E\."
    r"|b\.\ ?c\.(?:\ ?e\.)?|a\.\ ?d\.)(?!\w)"
)
_BEFORE = r"(?:AD|CE|AH|A\.\ ?D\.)"
_CIRCA = r"(?:(?:c|ca|approx|circ)\.\ ?|(?:[Cc]irca|ca|c)\ |~\ ?)"
_EARLY = (
    r"(?:(?:very\ )?(?:[Ee]arly|[Mm]id|[Mm]iddle|[Ll]ate|[Ll]ater)(?:-to-(?:mid|late))?(?:\ |-))"
)

YEARS = rf"""(?:
    {_BEFORE}{GAP}?{_YEARS}
  | {_YEARS}{GAP}?{_ERA}
  | {YEAR}(?:[/]\d{{2}}(?!\d))?
)"""
_FULL = rf"""(?:
    \d{{4}}-[01]\d-[0-3]\d(?:[T ][0-2]\d:[0-5]\d(?::[0-5]\d(?:\.\d{{1,9}})?)?
        (?:Z|[-+]\d\d:?\d\d)?)?(?!\d)
  | [0-3]?\d(?:/[0-3]?\d/|\.[0-3]?\d\.|-[0-3]?\d-)(?:\d{{4}}|\d{{2}})(?!\d)   # 03/04/2020
  | \d{{4}}/[01]?\d/[0-3]?\d(?!\d)
  | (?:{WEEKDAY},?\ (?:the\ )?)?(?:
        {DAY}(?:\ |-)(?:day\ )?(?:of\ )?{MONTH}(?:(?:,?\ |-)(?:of\ )?{YEARS})?
      | {MONTH}\ {DAY}(?:,?\ {YEARS})?
      | {MONTH}\ {DAY}(?:,\ {YEARS})?)
  | {MONTH},?\ (?:of\ )?{YEARS}
)"""
_AND = rf"(?:\ ?{DASH}\ ?|\ (?:and|to|or|until)\ (?:the\ )?|/)"
_LISTED = rf"""(?:
    (?:{WEEKDAY},?\ )?{DAY}{_AND}{DAY}\ (?:of\ )?{MONTH}(?:,?\ {YEARS})?
  | {MONTH}\ {DAY}{_AND}{DAY}(?:,?\ {YEARS})?
  | {MONTH}{_AND}{MONTH},?\ (?:of\ )?{YEARS}
)"""
_SPELLED = rf"(?i:{ORDINAL_WORDS})"
_ORDINAL = rf"(?:{ORDINAL}|{_SPELLED}\b)"
_CENTURY = rf"""(?:{_EARLY}?{_ORDINAL}(?:{_AND}{_EARLY}?{_ORDINAL})?(?:\ |-)
    (?:[Cc]entur(?:y|ies)|[Mm]illenni(?:um|a)|c\.)(?:\ {_ERA})?)"""
_TIES = r"(?i:twent|thirt|fort|fift|sixt|sevent|eight|ninet)ies\b"
_DECADE = rf"""(?:{_EARLY}?(?:
    (?:1\d|20)\d0s | ['’]\d0s | \d{{2,3}}0s(?=\ {_ERA}) | (?<=the\ )(?:\d0s|{_TIES})
)(?:\ {_ERA})?)"""
_SEASON = rf"""(?:{_EARLY}?(?i:spring|summer|autumn|fall|winter)(?:\ of)?,?\ {YEARS}
    (?:{DASH}\d{{2,4}})?)"""
_FEAST = (
    r"(?:(?:Christmas|Easter|Whit)(?:\ (?:Eve|Day|Sunday|Monday|Saturday|Tuesday|Week))?"
    r"|New\ Year['’]?s?(?:['’]s)?\ (?:Eve|Day)|Boxing\ Day|Good\ Friday|Palm\ Sunday|Ash\ Wednesday"
    r"|Twelfth\ Night|Michaelmas|Martinmas|Lammas|Candlemas|Whitsun(?:day)?|Pentecost|Epiphany"
    r"|All\ (?:Saints|Souls)['’]?\ Day|Thanksgiving(?:\ Day)?|Hallowe['’]?en"
    r"|Midsummer(?:['’]s)?(?:\ (?:Day|Eve))?"
    r"|(?:May|Labou?r|Independence|Bastille|Armistice|Remembrance|Memorial|Veterans|Victory"
    r"|Valentine['’]s|St\.?\ [A-Z][a-z]{1,12}['’]s)\ Day"
    r"|Ramadan|Passover|Yom\ Kippur|Diwali)\b"
)
_FEASTS = rf"(?:{_FEAST}(?:,?\ (?:of\ |in\ )?{YEARS})?)"
_TERM = rf"""(?:
    Q[1-4]{GAP}?{YEAR} | H[12]\ {YEAR} | {YEAR}\ ?Q[1-4]\b
  | FY{GAP}?(?:{YEAR}|\d{{2}})(?:(?:/|{DASH})\d{{2,4}})?
)"""
_PART = (
    r"(?:(?i:first|second|third|last|latter|former|final|other)"
    r"\ (?:half|third|quarter|part|decades?|years?|months?|weeks?|days?)"
    r"|(?i:beginning|start|middle|end|turn|close|dawn))\ of\ (?:the\ )?"
)
_LONE_MONTH = rf"(?:(?!May|March)(?:{_MONTHS})\b)"
"""A month alone; "May" and "March" are ordinary words as well."""
_ONE = rf"""(?:
    {_FULL} | {_CENTURY} | {_DECADE} | {_SEASON} | {_FEASTS} | {_TERM}
  | {_EARLY}?(?:{MONTH},?\ )?{YEARS} | {WEEKDAY} | {_LONE_MONTH}
)"""
UNTIL = rf"(?:\ ?{DASH}\ ?|\ (?:to|until|till|through|and)\ (?:the\ )?)"
"""Joins the ends of a period; "and" only after "between"."""

OPEN_END = r"(?:[Pp]resent|today|now)\b"

DATE = rf"""(?:
    {_CIRCA}?{YEAR}{DASH}\d{{1,2}}(?!\d|{DASH}\d)                          # 1914–18
  | {_CIRCA}?{_YEARS}(?:\ ?{DASH}\ ?|\ (?:to|and|or)\ ){_CIRCA}?{_YEARS}{GAP}?{_ERA}  # 300–200 BC
  | (?:{MONTH}\ )?{DAY}(?:\ ?{DASH}\ ?|\ (?:to|until|till)\ (?:the\ )?){_FULL}  # 12 to 14 May 1914
  | (?<=[Bb]etween\ )(?:{DAY}(?:\ {MONTH})?|{MONTH}\ {DAY}|{MONTH})\ and\ (?:the\ )?{_FULL}
  | {_LISTED}
  | {_PART}(?:{_ONE})
  | {_CIRCA}?(?:{_ONE})
  | {DAY}\ (?:of\ )?{MONTH}
  | {_EARLY}(?:{MONTH})
)"""

_HOURS = rf"(?:{ONES}|ten|eleven|twelve|(?:1[0-2]|[1-9])(?!\d))"
_NOON = r"(?:a\.\ ?m\.|p\.\ ?m\.|A\.\ ?M\.|P\.\ ?M\.|a\.m|p\.m|am|pm|AM|PM)(?!\w)"
_ZONE = (
    r"(?:\ (?:UTC|GMT|[ECMP][SD]?T|BST|CES?T|WES?T|EES?T|IST|JST|KST|AES?T|MSK)\b"
    r"(?:[-+\u2212]\d{1,2}(?::?\d{2})?)?|Z\b)"
)
_CLOCK = rf"""(?:
    (?:[01]?\d|2[0-4]):[0-5]\d(?::[0-5]\d)?(?:\.\d{{1,6}})?(?!\d)(?:{GAP}?{_NOON})?
  | (?:[01]?\d|2[0-4])(?:\.[0-5]\d)?{GAP}?{_NOON}
  | (?:[01]\d|2[0-4])[0-5]\d\ (?:hours|hrs|h)\b
  | {_HOURS}\ o['’]clock\b
  | 12\ (?:noon|midnight)\b
)(?:{_ZONE})?"""

_MINUTES = r"(?:five|ten|twenty|twenty-five|\d{1,2})"

TIME = rf"""(?:
    (?:{_CLOCK}|(?:[01]?\d|2[0-4])(?:[:.][0-5]\d)?)(?:\ ?{DASH}\ ?|\ to\ |\ until\ ){_CLOCK}
  | {_CLOCK}
  | (?i:half|(?:a\ )?quarter|{_MINUTES}(?:\ minutes)?)\ past\ (?i:{_HOURS}|noon|midnight)\b
  | (?i:(?:a\ )?quarter|{_MINUTES}\ minutes)\ to\ (?i:{_HOURS}|noon|midnight)\b
  | (?i:noon|midnight|midday)\b
)"""

UNSPACED = (
    r"\d{1,4}[年년](?:\ ?\d{1,2}[月월](?:\ ?\d{1,2}[日일])?)?|\d{1,2}[月월]\ ?\d{1,2}[日일]"
    r"|\d{1,2}[時时시](?:\ ?\d{1,2}[分분])?|\d{1,2}世[紀纪]"
)

DATES = (DATE, TIME, UNSPACED)
"""All patterns for a point in time; the longest match counts."""

FIRST_WORDS = frozenset(
    f"{_MONTHS}|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec|Monday|Tuesday|Wednesday|Thursday"
    "|Friday|Saturday|Sunday|Mon|Tue|Tues|Wed|Thu|Thur|Thurs|Fri|Sat|Sun|AD|CE|AH|c|ca|approx|circ"
    "|circa|Circa|very|early|mid|middle|late|later|Early|Mid|Middle|Late|Later|Christmas|Easter"
    "|Whit|New|Boxing|Good|Palm|Ash|Twelfth|Michaelmas|Martinmas|Lammas|Candlemas|Whitsun"
    "|Whitsunday|Pentecost|Epiphany|All|Thanksgiving|Halloween|Hallowe|Midsummer|Labor|Labour"
    "|Independence|Bastille|Armistice|Remembrance|Memorial|Veterans|Victory|Valentine|St|Ramadan"
    "|Passover|Yom|Diwali|Q|H|FY|A".split("|")
)
FIRST_WORDS_ANY_CASE = frozenset(
    f"spring|summer|autumn|fall|winter|last|latter|former|final|other|beginning|start|end|turn"
    f"|close|dawn|half|quarter|noon|midnight|midday|{ORDINAL_WORDS}|{TENS}|{TEENS}|{ONES}"
    "|twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties".split("|")
)
