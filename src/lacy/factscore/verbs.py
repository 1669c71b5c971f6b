"""Past forms of English verbs, to turn "appearing in films" into "appeared in films"."""

from __future__ import annotations

_IRREGULAR = dict(
    pair.split(":")
    for pair in (
        "be:was become:became begin:began bring:brought build:built buy:bought catch:caught"
        " choose:chose come:came cut:cut deal:dealt do:did draw:drew drive:drove eat:ate fall:fell"
        " feel:felt fight:fought find:found fly:flew forget:forgot get:got give:gave go:went"
        " grow:grew have:had hear:heard hit:hit hold:held keep:kept know:knew lay:laid lead:led"
        " learn:learned leave:left lend:lent let:let lie:lay lose:lost make:made mean:meant"
        " meet:met oversee:oversaw overcome:overcame pay:paid put:put quit:quit read:read ride:rode"
        " rise:rose run:ran say:said see:saw sell:sold send:sent set:set shoot:shot show:showed"
        " sing:sang sit:sat sleep:slept speak:spoke spend:spent split:split stand:stood steal:stole"
        " strike:struck swim:swam take:took teach:taught tell:told"
        " think:thought throw:threw"
        " undergo:underwent understand:understood undertake:undertook"
        " upset:upset wear:wore win:won"
        " withdraw:withdrew write:wrote rewrite:rewrote spread:spread seek:sought"
        " feed:fed bear:bore"
        " break:broke drink:drank hide:hid beat:beat cost:cost shut:shut bind:bound"
    ).split()
)
_DOUBLED = frozenset(
    "plan star transfer refer stop drop commit admit permit submit equip ban".split()
)


def past_tense(lemma: str) -> str:
    """Return the past tense of a verb, given its base form: "wrote" for "write"."""
    word = lemma.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("e"):
        return word + "d"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ied"
    if word in _DOUBLED:
        return word + word[-1] + "ed"
    return word + "ed"
