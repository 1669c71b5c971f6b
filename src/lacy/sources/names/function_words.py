"""Words, and Chinese characters, next to a name that show if the name continues there."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PREPOSITIONS = _words(
    "in on at by from to with for into onto over under after before during since until till through"
    " throughout between among amid against about above below near behind beyond despite without"
    " within along across around like unlike via per outside inside toward towards past and"
)
"""A name after one of these is not the subject. "Of" is not included, because it joins names."""

LEAD = PREPOSITIONS | _words(
    "the a an of as or but nor yet so because although though while when whenever where wherever"
    " whereas if unless once who whom whose which what why how that this these those there here"
    " he she it they we you i his her its their our your my one some most many all another other"
    " then later now today yesterday tomorrow also however meanwhile thus hence therefore moreover"
    " furthermore finally eventually subsequently afterwards originally initially recently"
    " soon still only even just both either neither not no yes formerly previously currently"
    " sometimes often usually perhaps maybe indeed instead besides otherwise nevertheless"
    " nonetheless according together again never always did does do was is were are has had have"
    " can could would should must born died named called known including such married meet met tell"
    " describe introducing dear hello hi question answer"
    # Greek puts an article before every name.
    " ο η το οι τα του της των τον την στο στη στον στην στα στις από με για και όταν όπου αν ως"
    " πριν μετά κατά ποιος ποια πότε πού που ότι αλλά"
)
"""Words that may begin a sentence before a name; capitalised, they are not part of the name."""

LEAD_ABROAD = _words(
    # German, French, Spanish, Italian, Portuguese, Dutch, Russian, the Nordic languages, Polish,
    # Czech, Hungarian, Turkish, Ukrainian
    "der die das ein eine als wenn weil nach vor im am bei mit von zu für und aber auch wo wann wer"
    " wie hier da dann später seit während le la les un une quand lorsque en à au aux du des dans"
    " par pour et mais où qui que comme après avant avec selon depuis el los las una cuando por"
    " para con y pero donde quien como después antes según desde il lo gli nel nella per e ma dove"
    " chi dopo prima secondo o os em no na com mas onde het een toen op met maar waar wie в на и но"
    " когда где кто как что после до с по при для об о от из у за под в года году"
    " när då där av efter före når hvor og etter før jossa missä mutta kiedy gdzie przed w z oraz"
    " když kde kdo před v az és mikor hol után előtt nerede sonra önce коли де хто як після у і та"
)
"""The same in other languages, not part of names of several words ("El Greco" is one name)."""

BRACKETED = _words(
    "born née nee né died or also formerly pictured left right center centre above below aka then"
    " now later since until circa ca see and in with from real full birth stage pronounced"
)
"""A bracket that begins with these adds to a name; "(planet)" or "(Texas)" disambiguates it."""

THING = _words("was is were are has had")
"""A verb after "'s": the name includes the "'s" ("McDonald's was")."""

FOLLOW = THING | _words(
    "be been being did does do can could would should must in on at by from to with for as until"
    " since during after before and or but also became becomes began begins born called came comes"
    " created defeated designed developed died dies directed discovered earned enrolled entered"
    " established faced finished found founded gained gave gives goes graduated grew grows"
    " held helped hosts invented joined joins knew later lay lead leads led left lies lived"
    " lives located lost made makes married met moved named never often once only opened owned"
    " painted performed played plays produced published received recorded released remained"
    " resigned retired returned runs said saw says served serves signed spent stands started stood"
    " studied taught took toured trained turned used visited went won worked"
    " works writes wrote"
)
"""Words that may follow a name with a capital: "Ada Lovelace Was Born", "ADA LOVELACE WAS BORN"."""

DATE_WORDS = _words(
    "january february march april may june july august september october november december"
    " monday tuesday wednesday thursday friday saturday sunday spring summer autumn winter"
)

TITLES = _words(
    "sir dame dr prof professor mr ms miss mx rev reverend hon captain capt colonel col general gen"
    " major maj lieutenant lt sergeant sgt corporal cpl private commander cmdr admiral adm marshal"
    " president senator sen governor gov minister chancellor mayor representative rep judge justice"
    " ambassador actor actress author writer novelist poet playwright singer songwriter musician"
    " composer pianist painter artist sculptor photographer philosopher historian economist"
    " physicist chemist biologist mathematician astronomer scientist engineer inventor architect"
    " director producer journalist politician footballer player coach lawyer doctor nurse teacher"
    " explorer manager monsieur madame signor señor señora herr frau"
)
"""Not part of a name of several words that follows. "Mrs." is not included, because Mrs. Humphry
Ward is not Humphry Ward."""

SENTENCE_STARTERS = LEAD | FOLLOW | LEAD_ABROAD | DATE_WORDS | TITLES
"""Words with which a sentence may begin before its subject."""

RANKS = _words(
    "king queen emperor empress prince princess duke duchess count countess earl baron baroness"
    " marquess viscount lord lady pope bishop archbishop saint tsar sultan shah khan son daughter"
)

POSTNOMINALS = _words(
    "DL FAIA ARIBA FRIBA OBE CBE MBE KBE DBE GBE CH OM FRS FRSE FBA FRAS FRCP FRCS FREng MP MEP"
    " MSP MLA MLC MHA MBBS KC"
    " QC PC JP PhD MD MA BA BSc MSc DSc DPhil LLB LLD VC GC MC DSO DFC DSC KCB GCB CB KCMG GCMG CMG"
    " KG KT AC AO AM OAM CC OC CM RA SJ OP OSB"
)

OF = _words("of de da do du di del della des van von zu der den ten ter la le bin ibn al el y upon")
"""Words that join the parts of a name."""

OF_ONE = _words(
    "biography life lives story works work birth death name profile portrait photo photograph"
    " children parents son daughter wife husband mother father brother sister widow friend friends"
)
"""With "of" they describe a person and are not part of a name of several words."""

WITH_FIRST_NAME = _words("van von bin ibn zu ten ter")
"""Particles before a family name."""

AND = ("and",)

BYNAMES = _words(
    "elder younger great first second third fourth fifth sixth seventh eighth ninth tenth"
    " conqueror bald bold pious good wise confessor terrible lionheart"
)

NAMES_OF_SAINTS = _words("st ste ss mt ft pt san mrs")
"""Abbreviations that begin a name."""

ABBREVIATED = NAMES_OF_SAINTS | _words("dr mr ms prof rev gen col capt lt gov sen rep vs no")

BEHIND_HAN = frozenset(
    "是在于於的和与與及等生出曾为為有也被从從到至将將任又自以位一所而毕畢卒死去就著创創写寫氏"
)
BEFORE_HAN = frozenset("在於于是和与與及从從到对對向由为為叫名的人国國年月日")
"""Particles and verbs; next to any other character, a Chinese name continues."""
