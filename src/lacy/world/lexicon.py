"""Words of the made-up world: filler words, and the parts that values are built from.

Filler words state no fact. They are many and equally likely, so the wording of a biography is as
hard to predict as its facts, and a model's uncertainty alone cannot tell the two apart.
"""

from __future__ import annotations

ADJECTIVES = """
able acid airy alert ample anxious arctic arid artful autumn balmy bare bitter bland bold
brash brave bright broad bronze candid careful cautious chilly civil cloudy clumsy comic
copper cosy creaky crimson crooked curly daring decent delicate dense dignified dim distant
dry dusty earnest earthy empty exact faded fair famous fearless festive fierce flat fluffy
foggy formal fragile fresh frosty frugal gaudy generous gilded gloomy glossy graceful grand
greedy gritty grumpy hardy hasty hazy heavy helpful hollow hopeful humble icy idle jaunty
jovial joyful kind lanky lavish lean lively lonely loyal lucid lush magnetic massive mellow
merry misty modest mossy mute mystic neat nimble noble numb oaken odd ornate pale pensive
placid playful plush polite prudent puzzled quick rapid rare ready reserved restless rosy
rough rugged rusty sandy secret sedate severe shady sharp shy silent sincere sleepy slender
smoky snug sober solid sombre sparse splendid stable steady steep sticky stormy stout sturdy
subtle sunny swift tame tardy tender tepid tidy timid tired tricky vast vivid wary wild wise
witty woolly
""".split()

NOUNS = """
acorns almanacs antlers apples arches baskets beehives bells berries blankets bonfires boots
bottles branches bricks brooms brushes butterflies buttons cables candles caps carts castles
chairs charts chessboards chimneys cider clocks clover coats coins compasses cottages
crayons creeks crows crystals curtains daisies diaries dolls drawings ducks echoes engines
envelopes feathers fences ferries festivals fields figs flutes frames frogs games gardens
geese gloves grapes hammers harps hawks hedges hills honey hymns inkwells ivory jackets
jigsaws jugs keys kittens knots lakes lamps larks lemons lilies linen locks looms magnets
maples maps markets masks melodies mills mittens moths mugs museums needles nets novels oats
olives orchards organs ovens owls paddles paintings parrots peaches pearls pencils pianos
pies pigeons pines pipes poems poppies porches prints puddles puppets quilts radios rafts
ravens recipes riddles rivers robins roofs ropes rugs saddles saws scarves shawls sheep
ships shutters sketches sonnets spiders spoons stables stars statues stories stoves swings
tapestries teapots thimbles thistles tools towers trains trees tulips tunnels umbrellas
vases vines wagons walnuts watches wheels willows windows yarn
""".split()

VERBS = """
admired adored assembled bartered bought buried carved chased cleaned collected concealed
counted craved described discovered displayed doubted drew embroidered envied examined
exhibited feared fixed gathered glazed hoarded imagined imported invented juggled lent
mended missed named neglected ordered painted photographed planted polished preferred
printed protected recorded rejected repaired restored sanded sculpted sewed shared sketched
sold stacked stitched studded tended traced treasured trimmed varnished washed wove
""".split()

ADVERBS = """
abruptly basically boldly briefly carefully certainly clearly coldly daily eagerly easily
evenly exactly famously firmly formally freely gently gracefully hardly honestly humbly
keenly lately lazily locally loyally madly merely mostly neatly nobly oddly often patiently
plainly possibly promptly publicly quietly rarely really secretly seriously shyly simply
sleepily smoothly solemnly soon strangely suddenly sweetly tenderly typically vaguely
""".split()

FIRST_NAMES = """Ada Agnes Alba Aldo Alma Amos Anna Anton Arlo Astrid Axel Bela Bruno Cara Carl
Celia Clara Conrad Cora Cyrus Dalia Daria Dora Edda Edgar Edith Edmund Elias Elsa Emil Enid Erik
Esme Ezra Fabian Felix Fiona Flora Frida Georg Gerda Greta Gustav Hanna Harald Hedda Helga Henrik
Hilda Hugo Ida Ines Inga Iris Ivo Jakob Jana Jonas Judith Julius Karin Kaspar Klara Konrad Lara
Laszlo Lena Leon Lilian Linus Livia Lotte Lucas Lydia Magda Magnus Mara Marek Marta Matilda Maud
Milan Mina Mira Moritz Nadia Nils Nina Noel Nora Odile Olaf Olga Oscar Otto Paula Petra Philip Quinn
Rafael Ragna Rhea Rolf Rosa Rufus Runa Sanna Saul Selma Sigrid Simon Sofia Stella Sven Tamar
Thea Theo Tilda Tobias Ulla Una Urban Vera Viktor Viola Vito Wanda Wilma Xenia Yara Yvo Zora
Zelda""".split()

SURNAME_STARTS = """Al Bar Bel Bor Bran Cal Cor Dal Dor El Fal Far Gal Gar Hal Har Hol Jar Kal Kel
Kor Lam Lin Lor Mal Mar Mel Mor Nor Or Pal Per Quil Ral Ros Sal Sel Sor Tal Tor Ul Val Vel Ver
Vor Wal Wel Yor Zan""".split()
SURNAME_MIDDLES = ["", "a", "e", "i", "o", "an", "en", "in", "or", "ar"]
SURNAME_ENDS = """bach berg bert by dane dell din don gard ger gren ham heim holm king lan land
lin ling loy man mark mond nell ner quist rin rod row sen ski son stein strom ter ton vick vin way
wood zer""".split()

PLACE_STARTS = """Ald Ash Bran Brim Clay Cold Dun East Elm Fen Gar Glen Hal Hart Kel King Lin Mill
Mor North Oak Os Pen Rav Red Ros Sel South Stan Stone Thorn Tor Ver Wes Win Yar""".split()
PLACE_ENDS = """bridge brook burgh bury by cliff combe dale field ford gate ham haven hill holt
mere mouth port stead stow ton wick worth""".split()

FIELDS = """acoustics aesthetics agronomy algebra anatomy ancient history animal behaviour
applied ethics archaeology art history astronomy ballistics bookbinding botany calligraphy
cartography ceramics chemistry child psychology choral music civil engineering civil law
climatology coastal ecology cognitive science comparative grammar criminal law crystallography
dance theory dentistry early music economic history entomology epidemiology ethnology
folklore forestry game theory genetics geodesy geology geometry glaciology graph theory
harmony heraldry horticulture human anatomy hydraulics hydrology immunology industrial design
inorganic chemistry journalism land surveying landscape design legal history limnology
linguistics logic marine biology maritime law mechanics medieval art medieval history
metallurgy meteorology microbiology mineralogy moral philosophy music theory mycology
naval architecture naval history neurology nuclear physics number theory nursing oceanography
optics organic chemistry ornithology palaeography particle physics pathology pedagogy
pharmacy phonetics physical chemistry plant pathology poetics political theory pottery
probability public finance rhetoric seismology set theory social history social psychology
solid mechanics statistics surgery textile design theology thermodynamics topology
toxicology typography urban history urban planning veterinary science virology viticulture
volcanology weaving zoology"""

_TWO_WORDS = {
    "ancient", "animal", "applied", "art", "child", "choral", "civil", "coastal", "cognitive",
    "comparative", "criminal", "dance", "early", "economic", "game", "graph", "human",
    "industrial", "inorganic", "land", "landscape", "legal", "marine", "maritime", "medieval",
    "moral", "music", "naval", "nuclear", "number", "organic", "particle", "physical", "plant",
    "political", "public", "set", "social", "solid", "textile", "urban", "veterinary",
}  # fmt: skip


def field_names() -> list[str]:
    """Return fields of study of one or two words; several share their first word."""
    words = iter(FIELDS.split())
    return [f"{word} {next(words)}" if word in _TWO_WORDS else word for word in words]


TRADES = """Press Shipping Foundry Brothers Mills Works Steel Glass Bank Textiles Brewing
Instruments Railways Theatre Chemicals Quarries Dairy Motors Timber Laboratories""".split()
AWARDS = "Medal Prize Award Cross Ribbon Cup Fellowship Laurel Order Star".split()
AWARD_QUALITIES = "Golden Silver Crystal Royal Grand Northern Founders Jubilee Civic Amber".split()
