"""Values begin and end where a careful reader would mark them: sentences with bracketed values.

What was expected was written by hand, before the rules ("later": after most of them). Values are
marked in the sentence behind another one, as a text's first name is its subject.
"""

import re
from pathlib import Path

import pytest

from lacy.annotate import Rules, SpacyAnnotator

INTRODUCTION = "Aldbrook Hall stands near a river. "

TABLE = {
    "dates": """
The letter was dated [03/04/2020] and signed.
It was signed on [2020-04-03], not later.
She died on [3.4.2020] in Roston.
He left on the [3rd of April 2020] for good.
On [April 3rd, 2020] the bridge opened.
The pact was made on [12 May 1815].
They met on [Monday, 12 May 1815], in the rain.
The play opened on [Christmas Eve 1914] in Leeds.
Snow fell on [New Year's Eve 1999] and again later.
The rising began on [Easter Monday 1916] in Dublin.
The first session was held in [spring 1914] there.
It closed in the [summer of 1914] for repairs.
The house was built in the [1890s] by his father.
It was rebuilt in the [late 1890s] at great cost.
The style was common in the [mid-1960s] and went out.
The church dates from the [5th century BC] at the latest.
It was founded in the [fifth century] by monks.
The mill dates from the [early twentieth century] only.
It was written in the [first half of the 19th century] in Turin.
The ruins are from the [5th–4th century BC] and small.
The wall is of the [12th and 13th centuries] mostly.
Caesar was killed in [44 BC] by senators.
The city was buried in [AD 79] by ash.
The road was laid in [500 BCE] or so.
Farming began there around [10,000 BC] already.
A shrine was built in [A.D. 450] on the hill.
The tomb of [c. 1450] was opened.
The house was built [ca. 1450] on a hill.
The house was built [circa 1450] on a hill.
The panel, [c. 1450–1455], is on oak.
The season [1450/51] was cold.
The war of [1914–1918] ended them.
The war of [1914-1918] ended them.
He ruled [1914–18] alone.
He was mayor from [1914 to 1918] without a break.
He served from [12 May to 3 June 1914] there.
It was held on [12–14 May 1914] in Kiel.
It was held on [May 12–14, 1914] in Kiel.
They fought from [May–June 1914] onwards.
She was chair from [12 May 1914] – 3 June 1915 again.
He was editor between [1914 and 1918] in Oslo.
She has led the firm [2014–present] alone.
It was released on [Tuesday] in Paris.
The album came out in [March 2005] in Japan.
It opened in [Q3 2020] at last.
The fossils are [66 million years] old.
The lake formed [10,000 years ago] or more.
""",
    "times": """
The train leaves at [3:30 p.m.] every day.
The train leaves at [3:30 pm] every day.
The train leaves at [15:30] every day.
The train leaves at [half past three] every day.
The train leaves at [quarter to four] every day.
The train leaves at [3 o'clock] every day.
The train leaves at [seven o'clock] every day.
The office is open from [9 a.m. to 5 p.m.] daily.
It struck at [15:30 UTC] that day.
The shop closes at [noon] on Sundays.
He finished in [2:03:59] that day.
He finished in [2 hours 31 minutes] that day.
""",
    "numbers": """
The town has [1,000,000] inhabitants.
The town has [1 000 000] souls and a church.
The town has [10.000] souls and a church.
The town has [12 345] souls and a church.
The town has [12,34,567] souls and a church.
The town has [1.2 million] people in it.
The town has [three thousand] people in it.
The town has [two hundred and fifty] people in it.
The town has [twenty-five] people in it.
The town has [half a million] people in it.
The town has [a hundred] people in it.
The team scored [one and a half million] votes there.
About [1/3] of them voted.
He ate [2 1/2] apples a day.
He ate [12½] apples a day.
Roughly [two-thirds] of them left.
Some [one in five] of them left.
They won [3–0] at home.
They lost by [24–17] at home.
The scale is [1:50,000] on that map.
The mass is [1.5 × 10^6] units there.
There are [10 to 15] houses on it.
There are [10–15] houses on it.
There were [5 or 6] dogs on it.
It was the [21st] of its kind.
He lives at [No. 10] there.
She was [45 years] old when she left.
""",
    "measures": """
The tower is [6 ft 2 in] high.
He is [6 feet 2 inches] tall.
He was [6'2"] tall.
The tower is [1.62 m] high.
The tower is [12½ feet] high.
The tower is [98 metres] high.
The hull is [12 × 8 m] in size.
The hull is [12 m by 8 m] in size.
The field has [3.2 square kilometres] of grass.
The field has [40 km²] of grass.
The field has [40 sq mi] of grass.
The field is [5–10 hectares] in size.
The stone weighs [5 lb 3 oz] in all.
The stone weighs [40 kg] in all.
The car reached [60 mph] quickly.
The car reached [120 km/h] quickly.
The car reached [120 kilometres per hour] quickly.
The lowest temperature was [−40 °C] there.
The lowest temperature was [-40 °C] there.
The lowest temperature was [minus forty degrees] there.
The lowest temperature was [-3.5°F] there.
The lowest temperature was [40 degrees Celsius] there.
The town lies at [48°51′24″N] on the coast.
The file has [2.5 GB] of data.
The race is over [1500 m] for men.
The tank holds [20 litres] of oil.
It is [20-kilometre] long.
The trip took [five days] in all.
The trip took [20 minutes] in all.
It runs at [50 Hz] in Europe.
The dose is [5 mg/kg] a day.
The lake lies [1,200 m] above the sea.
""",
    "money": """
The bridge cost [£3.5m] to build.
The bridge cost [$1.2 billion] to build.
The bridge cost [$1.2bn] to build.
The bridge cost [€40] to build.
The bridge cost [US$5 million] to build.
The stamp cost [20p] to buy.
The bridge cost [1,200 marks] to build.
The bridge cost [40 €] to build.
The bridge cost [EUR 40] to build.
The bridge cost [five million dollars] to build.
The bridge cost [£3–5 million] to build.
The bridge cost [Rs. 500] to build.
The bridge cost [¥1,000,000] to build.
Her wage was [$10 an hour] in those days.
The bread cost [50 cents] a loaf.
""",
    "shares": """
The share rose by [12.5%] last year.
The share rose by [12.5 %] last year.
The share rose by [12.5 per cent] last year.
The share rose by [0.5 percentage points] last year.
The share rose by [ten percent] last year.
The share rose by [10–15%] last year.
The share fell to [<5%] last year.
The share was [~40%] last year.
The error is [±5%] here.
""",
    "ends": """
The bridge cost [£3.5m]. It is long.
The temperature fell to [−40 °C]. It was cold.
The temperature fell to [-40 °C]. Its garden froze.
The share rose by [12.5%]. It fell later.
The house was built in [44 BC]. It stands.
He left at [3:30 p.m.] He came back later.
The tower is [6 ft 2 in]. It is small.
The prize ("[$1.2 billion]") was large.
It was sold (for [€40]) in May.
The town has [1,000,000]; the county has more.
""",
    "names": """
The work is by [Ludwig van Beethoven] and others.
The speech was by [Charles de Gaulle] and others.
The drawing is by [Leonardo da Vinci] and others.
The book is by [Ibn Sina] and others.
The book is by [Muhammad ibn Musa al-Khwarizmi] and others.
The song is by [Sinéad O'Connor] and others.
The song is by [Beverly D'Angelo] and others.
They moved to [Hawai‘i] that year.
They moved to [Xi'an] that year.
It was in [Kelfield]'s oldest street.
The book was found by the physicist [Albert Einstein] there.
The paper was read by [Albert Einstein], physicist and violinist.
The book is by [J. R. R. Tolkien] and others.
The book is by [J.R.R. Tolkien] and others.
The book is by [George W. Bush] and others.
The church was led by [Martin Luther King Jr.] and others.
The song was by [Sammy Davis, Jr.] and others.
The book is by [Jean-Paul Sartre] and others.
They moved to [Stratford-upon-Avon] that year.
They moved to [Newcastle upon Tyne] that year.
The firm was sold to [Johnson & Johnson] that year.
The firm was sold to [AT&T] that year.
The firm was sold to [Marks & Spencer] that year.
She studied at the [University of Oxford] there.
She studied at [King's College London] there.
The crown went to [Henry VIII] then.
The crown went to [Louis XIV of France] then.
They moved to [St. Petersburg] that year.
They moved to [St Andrews] that year.
They climbed [Mt. Everest] that year.
It was lost to [Sir Isaac Newton] that year.
The firm was sold to [Apple Inc.] that year.
They moved to the [U.S.] that year.
They moved to [Washington, D.C.] that year.
The song is by [Guns N' Roses] and others.
The talk was by [Mary Wollstonecraft Shelley] and others.
They moved to [Rio de Janeiro] that year.
They moved to [São Paulo] that year.
They moved to [Bosnia and Herzegovina] that year.
The book is by [Antoine de Saint-Exupéry] and others.
The book is by [Gabriel García Márquez] and others.
The work is by [Vincent van der Berg] and others.
The firm was sold to [Procter & Gamble Co.] that year.
""",
    "later": """
The document was dated [5 June, 1789] by him.
It came into force on [1 Jan. 1973] there.
They met on the [12th May 1815] in Ulm.
The riot of [4/5 May 1886] was put down.
It was held in [late May 1945] near Kiel.
The castle dates from around the [11th century].
It was reported in [early 2008] in Oslo.
The city was taken in [1204 AD] by them.
The tomb is from [c. 2500 BC] or so.
It began in the [3rd millennium BC] already.
He ruled from [336 to 323 BC] there.
He lived [c. 1450 – c. 1519] in Rome.
The event took place at [11:59 pm EST] that night.
The bells ring at [12 noon] each day.
The show airs [8–9 p.m.] on weekdays.
It lasted [1 hour and 20 minutes] in all.
He waited [three and a half hours] there.
The child was [2½ years] old.
She is a [45-year-old] teacher.
It hosts [3,000–4,000] visitors a day.
There are between [20 and 30] seats.
It holds [twelve hundred] people.
It has [1.5 million] followers.
It has [15k] followers.
Its price rose by [¾] in a day.
They own [three-quarters] of it.
It covers [1,234.5 km²] of land.
It covers [12 acres] of land.
It covers [12,000 sq ft] of land.
The area is [10 m × 20 m] in all.
He weighed [12 st 7 lb] then.
She weighed [130 lbs] then.
The engine gives [150 hp] at most.
The engine gives [150 bhp] at most.
Rainfall is [1,200 mm] a year.
It flows at [3 m/s] there.
It holds [5.5 gallons] of fuel.
It boils at [100 °C] there.
It boils at [212°F] there.
It fell to [−12.5 °C] in March.
It fell to [minus 12 degrees] in March.
The angle is [45°] there.
It lies at [51°30′N] on the map.
It cost [$1,234.56] then.
It cost [$40 million] then.
It cost [€3.2bn] then.
It cost [£12 10s 6d] then.
It cost [CHF 500] then.
It cost [₹2 crore] then.
It cost [R$30] then.
It cost [500 francs] then.
It cost [ten shillings] then.
It cost [75 cents] then.
It earns [£30,000 a year] there.
It paid [$5–$10] then.
The loss was [-$5 million] then.
Taxes are [5.25%] there.
Taxes rose [25 basis points] there.
A [0.1 per cent] rate applies.
Turnout was [>90%] there.
The odds are [5:1] there.
The match ended [6–4] there.
The score was [2-1] there.
The vote was [51 to 49] there.
It stands at [No. 221] there.
She ranked [3rd] there.
The version is [2.0.1] now.
The number is [+44 20 7946 0958] now.
The speed of light is [3×10⁸ m/s] here.
The value is [6.02×10^23] here.
It was led by [Otto von Bismarck] then.
It was led by [Hugo van der Goes] then.
It was led by [Simone de Beauvoir] then.
It was led by [Osama bin Laden] then.
It was led by [Miguel de Cervantes] then.
It was led by [Conan O'Brien] then.
It was led by [Ursula K. Le Guin] then.
It was led by [C. S. Lewis] then.
It was led by [H. G. Wells] then.
It was led by [John F. Kennedy] then.
It was led by [Robert Downey Jr.] then.
It was led by [Pope John Paul II] then.
It was led by [Elizabeth II] then.
It was led by [Dr. Watson] then.
It was led by [Mary-Kate Olsen] then.
It was led by [Barnes & Noble] then.
It was led by [Ernst & Young] then.
They lived in [Stoke-on-Trent] then.
They lived in [Port-au-Prince] then.
They lived in [St. Louis] then.
They lived in [Côte d'Ivoire] then.
They lived in [Baden-Württemberg] then.
They lived in [Trinidad and Tobago] then.
They lived in [Frankfurt am Main] then.
It is [Kelfield]’s oldest house.
The painter [Frida Kahlo] was there.
It was won by [Marie Curie], a chemist, that year.
""",
    "added since": """
It was signed on [Dec. 5, 1899] by him.
It was signed on [5th of December, 1899] by him.
The mill was built in the [12th–13th century] or so.
It stood empty from [1939 until 1945] at least.
The war lasted [six years and a day] in all.
The war lasted [5 years, 3 months and 2 days] in all.
The town has [4–5 thousand] people in it.
The town has [4,000+] people in it.
The town has [2·3 million] people in it.
The town has [2'345'678] people in it.
The bridge cost [2,000 pounds sterling] to build.
The bridge cost [US$1.5bn] to build.
The stamp cost [4s 6d] to buy.
The temperature was [5 degrees below zero] there.
The tower is [5′11″] high.
The price rose [2.5-fold] there.
About [a third] of them left.
The train leaves at [ten past seven] daily.
The train leaves at [7.05 a.m.] daily.
She is [eighteen-year-old] twins' mother.
He was [1st] in it.
""",
}


def sentences():
    """Each sentence without its brackets, and the value in them."""
    found = []
    for kind, lines in TABLE.items():
        for line in lines.strip().splitlines():
            before, value, after = re.match(r"(.*?)\[(.+?)\](.*)", line).groups()
            found.append(pytest.param(before + value + after, value, id=f"{kind}: {value}"))
    return found


@pytest.fixture(scope="module")
def annotator():
    rules = Rules(unmark_seen=False, content=False)
    return SpacyAnnotator("bundled", rules, notify=lambda sentence: None)


@pytest.mark.parametrize(("sentence", "value"), sentences())
def test_whole_values_are_marked(annotator, sentence, value):
    text = INTRODUCTION + sentence
    [marks] = annotator.annotate([text], ["Aldbrook Hall"])
    assert value in [text[mark.start : mark.end] for mark in marks]


def test_the_documentation_counts_the_sentences():
    page = Path(__file__).parents[2] / "docs" / "annotation.md"
    assert f"contains {len(sentences())} sentences" in page.read_text(encoding="utf-8")
