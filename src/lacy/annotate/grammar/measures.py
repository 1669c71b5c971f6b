"""Patterns for numbers with units: measures, money, shares, ranges, ratios and compounds."""

from __future__ import annotations

from lacy.annotate.grammar.numbers import (
    COUNT,
    DASH,
    DIGITS,
    FIGURE,
    FRACTION,
    GAP,
    ORDINAL,
    SCALE,
    SIGN,
    SMALL,
)

_WORDS = (
    # length, area, volume
    "metres? meters? kilomet(?:re|er)s? centimet(?:re|er)s? millimet(?:re|er)s?"
    " micromet(?:re|er)s? nanomet(?:re|er)s? miles? feet foot inch(?:es)? yards? acres? hectares?"
    " fathoms? furlongs? light-years? parsecs? lit(?:re|er)s? millilit(?:re|er)s? gallons? pints?"
    " quarts? barrels? bushels? km cm mm nm µm μm ft yd yds mi nmi ha ml cl dl hl cc ly pc AU"
    # weight, time
    " grams? grammes? kilograms? kilogrammes? kilos? milligrams? tonnes? tons? kilotons? megatons?"
    " pounds? ounces? stone carats? kg mg µg μg lb lbs oz kt cwt"
    " years? months? weeks? fortnights? days? hours? minutes? seconds? milliseconds? nanoseconds?"
    " decades? centuries millennia yrs? hrs? mins? secs? ms ns"
    # physics, data
    " watts? kilowatts? megawatts? gigawatts? volts? amps? amperes? ohms? joules? kilojoules?"
    " calories kilocalories horsepower newtons? pascals? hertz kilohertz megahertz gigahertz"
    " kelvins? decibels? knots? mach bits? bytes? kilobytes? megabytes? gigabytes? terabytes?"
    " pixels? megapixels? hp bhp kW MW GW TW kWh MWh GWh TWh Wh kV mV mA kA Ah mAh Hz kHz MHz GHz"
    " THz dB Pa kPa MPa hPa psi kJ MJ cal kcal eV keV MeV GeV TeV kN Nm mol ppm ppb px dpi rpm"
    " kB KB MB GB TB PB kbit Mbit Gbit Kbps Mbps Gbps kbps mph kmh kph kn Ma Ga lm lx Sv mSv Bq Gy"
    # shares and angles
    " storeys? stories story percent pct percentages? pp bps degrees? arcminutes? arcseconds?"
).split()

_PLAIN = "|".join(sorted(_WORDS, key=len, reverse=True))
_PREFIX = (
    r"(?:square|cubic|sq\.?|cu\.?|nautical|metric|long|short|imperial|fluid|fl\.?|troy|statute|US)"
)
_PHRASES = (
    r"per[ ]cent|percentage[ ]points?|basis[ ]points?|points?[ ]of[ ]a[ ]percent"
    r"|degrees?[ ](?:Celsius|Fahrenheit|Kelvin|centigrade|north|south|east|west|below[ ]zero"
    r"|[CF])\b"
    r"|(?:years?|months?|weeks?|days?|hours?|minutes?)[ ]ago"
)
_SYMBOLS = rf"%|‰|‱|°{GAP}?[CFK]\b|º{GAP}?[CF]\b|℃|℉|°|′|″"
_LETTERS = r"[mglLhtsVWKNJ]"
_POWER = r"(?:[²³]|\^?[23](?!\d))"

UNIT = rf"""(?:
    {GAP}?(?:{_SYMBOLS})
  | (?:{GAP}|-)(?:year|month|week|day|hour|minute)s?-olds?\b
  | (?:{GAP}|-)(?:{_PHRASES})\b
  | -?fold\b
  | (?:{GAP}|-)?(?:{_PREFIX}{GAP})?(?:{_PLAIN}){_POWER}?(?![\w'’])(?:\.(?={GAP}[a-z\d(]))?
)"""
_LETTER = rf"(?:{GAP}?{_LETTERS}{_POWER}?|[ACFTp])(?![\w'’]|\.\w)"
"""Units of one letter; they count as a unit only after digits."""

_PER = rf"""(?:{GAP}?/{GAP}?|\ per\ |-per-)(?:{_PREFIX}{GAP})?(?:{_PLAIN}|{_LETTERS})
    {_POWER}?(?!\w)(?:\ per\ (?:{_PLAIN})\b)?"""
_UNITS = rf"(?:{UNIT}(?:{_PER})?)"

QUANTITY = rf"""(?:
    {FIGURE}{SCALE}?(?:{_UNITS}|{_LETTER}(?:{_PER})?)
  | {COUNT}(?:{_UNITS})
)"""

_NUMBER = rf"(?:{FRACTION}|{DIGITS})"
_FOOT = r"(?:ft\.?|feet|foot|['’′])"
_INCH = rf"(?:in\b(?:\.(?={GAP}[a-z\d(]))?|inch(?:es)?\b|[\"”″]|['’′]{{2}})"
_COUNTED = rf"(?:{_NUMBER}|{SMALL})"

_POUND = r"(?:lbs?|pounds?)"
_LONGER = r"(?:years?|months?|weeks?|days?|hours?|hrs?|minutes?|mins?)"
_SHORTER = r"(?:months?|weeks?|days?|hours?|minutes?|mins?|seconds?|secs?)"
_SECOND = r"(?:[\"”″]|['’′]{2})"

COMPOUND = rf"""(?:
    {_NUMBER}{GAP}?{_FOOT}(?:,?\ (?:and\ )?|-)?{_NUMBER}(?:{GAP}|-)?{_INCH}            # 6 ft 2 in
  | {SMALL}\ (?:feet|foot),?\ (?:and\ )?(?:{_COUNTED})\ inch(?:es)?
  | {_NUMBER}{GAP}?(?:st|stone|{_POUND})\.?,?\ (?:and\ )?{_NUMBER}{GAP}?(?:{_POUND}|oz|ounces?)\b
  | {_NUMBER}{GAP}?(?:in|inch(?:es)?)(?=\ \(\d|\ ?[×x]\ ?\d)                         # 12 in (30 cm)
  | {_NUMBER}(?:-in|″)(?!\w)
  | {_COUNTED}{GAP}{_LONGER}(?:(?:,?\ and\ |,?\ )(?:{_COUNTED}|an?){GAP}{_SHORTER}\b){{1,4}}
  | \d{{1,3}}{GAP}?h(?:{GAP}?\d{{1,2}}{GAP}?(?:m|min)\b)?
      (?:{GAP}?\d{{1,2}}(?:\.\d{{1,3}})?{GAP}?(?:s|sec)\b)?(?!\w)
  | \d{{1,3}}[°º]{GAP}?\d{{1,2}}(?:\.\d{{1,6}})?
      (?:['’′]{GAP}?(?:\d{{1,2}}(?:\.\d{{1,6}})?{_SECOND}{GAP}?)?)?(?:[NSEW]\b)?
  | \d{{1,3}}(?:\.\d{{1,9}})?°{GAP}?[NSEW]\b
)"""
"""Several units in one value: feet and inches, hours and minutes, degrees and minutes."""

_SYMBOL = r"(?:(?:US|AU?|CAN?|NZ|HK|SG?|NT|R|Mex|AR|Z|J)?\$|[£€¥₹₽₩₺₦₱฿₫₴₪₡₲₵₸])"
_CODE = (
    "USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|INR|CNY|RMB|RUB|BRL|ZAR|KRW|TRY|MXN"
    "|SGD|HKD|NGN|PKR|DM|FRF|ITL|ATS|NLG"
)
_MONEY = (
    "dollars? euros? pounds? cents? pence penn(?:y|ies) shillings? guineas? francs? marks?"
    " Reichsmarks? Deutschmarks? rupees? yen yuan won rou?bles? kron(?:a|or|er|e|ur) crowns?"
    " lire? liras? pesos? pesetas? rand reais real dinars? dirhams? riyals? shekels? bahts? zloty"
    " złoty zł złotych forints? guilders? florins? thalers? talers? ducats? livres? drachmas?"
    " denarii sesterces rubles? kr kopecks? ringgit rupiah"
).split()
_NAMED = "|".join(sorted(_MONEY, key=len, reverse=True))
_KINDS = (
    r"(?:(?:US|U\.S\.|American|Canadian|Australian|British|Swiss|French|Belgian|Hong\ Kong"
    r"|Singapore|New\ Zealand|gold|silver|sterling)\ )"
)
_EACH = (
    r"(?:(?:\ (?:per|an?)\ |/|\ each\ |-an?-)(?:second|minute|hour|night|day|week|month|year|head"
    r"|person|share|barrel|ounce|ton|tonne|pound|gallon|lit(?:re|er)|acre|piece|copy|ticket|unit"
    r"|kg|kWh|MWh)\b)"
)
_AMOUNT = rf"(?:{FRACTION}|{DIGITS}){SCALE}?"
_AMOUNTS = rf"{_AMOUNT}(?:(?:{DASH}|\ to\ |\ {DASH}\ )(?:{_SYMBOL})?{_AMOUNT})?"

MONEY = rf"""(?:
    (?:{SIGN})?{_SYMBOL}[-+\u2212]?{GAP}?{_AMOUNTS}(?:\ (?:USD|EUR|CAD|AUD|NZD)\b)?{_EACH}?
  | (?:{SIGN})?(?:(?:{_CODE})\ ?|(?:Rs|kr|Kč|zł|Fr|fr|DM|Dh)\.?{GAP}){_AMOUNTS}{_EACH}?
  | £{GAP}?{DIGITS}(?:{GAP}|/)\d{{1,2}}s?(?:{GAP}|/)\d{{1,2}}d\b                         # £5 6s 8d
  | \d{{1,4}}s\.?{GAP}\d{{1,2}}d\b
  | {COUNT}(?:
        (?:{GAP}|-){_KINDS}?(?:{_NAMED})\ sterling\b
      | {GAP}?[€₽¢₫₸]
      | {GAP}?(?:{_CODE}|{_NAMED}|[$£]|(?<=\d)[pd])(?!\w)
      | (?:{GAP}|-){_KINDS}?(?:{_NAMED})\b
    ){_EACH}?
)"""

CODED = rf"""(?:
    {FIGURE}(?:\ ?[×x]\ ?{FIGURE}){{1,3}}(?:{_UNITS}|{_LETTER})?                         # 12 × 8 m
  | (?i:one|1|two|2)\ in\ (?:every\ )?(?:{SMALL}|\d{{1,2}}(?:,000)?|1,?0{{2,6}})\b
  | {_COUNTED}\ out\ of\ (?:every\ )?{_COUNTED}\b
  | \d++(?:{DASH}\d++){{2,8}}                                               # 978-3-16-148410-0
  | \d++(?::\d++){{1,4}}(?:,\d{{3}}){{0,4}}                                 # 1:50,000
  | \+\d{{1,3}}(?:[ -]\(?\d{{1,5}}\)?){{2,6}}                               # +44 20 7946 0958
  | {DIGITS}/\d{{1,5}}(?![\d/])                                              # 6.9/10
  | \d++(?:[.,]\d++)?[万萬億亿兆千百]{{0,3}}[人円元歳岁回名만억원명]                  # 1400万人
  | \d++(?:[.,]\d++)?[万萬億亿兆千百만억]{{1,3}}
  | {ORDINAL}
)"""
"""Ratios, shares in words, dimensions, ordinals, and numbers that are codes."""

JOIN = rf"(?:{DASH}|\ {DASH}\ |\ to\ |\ or\ |\ and\ |\ ?[×x]\ ?|\ by\ )"
"""Joins the ends of a range or the sides of an area."""

NUMBERED = rf"(?:(?:[Nn]os?\.|No|№|\#){GAP}?\d++(?:{DASH}\d++)?)"

MEASURES = (MONEY, COMPOUND, QUANTITY, CODED, NUMBERED)
"""All patterns for a number with its unit; the longest match counts."""

FIRST_WORDS = frozenset(
    f"{_CODE}|Rs|kr|Kč|zł|Fr|fr|Dh|US|A|AU|C|CA|CAN|NZ|HK|S|SG|NT|R|Mex|AR|Z|J|no|No|Nos|nos".split(
        "|"
    )
)
FIRST_SIGNS = "$£€¥₹₽₩₺₦₱฿₫₴₪₡₲₵₸№#"
