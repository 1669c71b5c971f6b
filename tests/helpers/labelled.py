"""A tiny labelled file in FActScore's format, about people who do not exist."""

import gzip
import json

PASSAGES = {
    "Mira Okafor": [
        "<s>Mira Okafor Mira Okafor (born 4 May 1951 in Lagos) is a Nigerian chemist.</s>"
        "<s>Career. She studied at the University of Ibadan and won the Adeola Prize in 1988.</s>",
        "<s>Personal life. Okafor married the painter Tunde Bello in 1979.</s>",
    ],
    "Jon Halvard": [
        "<s>Jon Halvard Jon Halvard (12 March 1903 – 7 July 1977) was a Norwegian ski jumper.</s>"
        "<s>He won a silver medal at the 1928 Winter Olympics in St. Moritz.</s>",
    ],
    "Lena Strand": ["<s>Lena Strand is a Swedish singer from Malmö.</s>"],
}

FACTS = {
    "Mira Okafor": [
        ("Mira Okafor is a chemist.", "S"),
        ("Mira Okafor was born in Lagos.", "S"),
        ("Mira Okafor was born on 9 June 1962.", "NS"),
        ("She won the Nobel Prize.", "NS"),
        ("Lagos is a city.", "IR"),
    ],
    "Jon Halvard": [
        ("Jon Halvard was a ski jumper.", "S"),
        ("He won a silver medal at the 1928 Winter Olympics.", "S"),
        ("He died in Toronto.", "NS"),
    ],
    "Lena Strand": [
        ("Lena Strand is a singer.", "S"),
        ("Lena Strand is Danish.", "NS"),
    ],
    "Nobody Known": [("Nobody Known is a dancer.", "NS")],
}


def response(topic, facts):
    """Return one line of a labelled file."""
    annotation = {
        "text": " ".join(text for text, _ in facts),
        "is-relevant": True,
        "model-atomic-facts": [{"text": text} for text, _ in facts],
        "human-atomic-facts": [{"text": text, "label": label} for text, label in facts],
    }
    return {"topic": topic, "output": annotation["text"], "annotations": [annotation]}


def write_labelled(folder, facts=FACTS, passages=PASSAGES):
    """Write labels of one model (gzip) and passages; return both paths."""
    labels, pages = folder / "labels_Parrot.jsonl.gz", folder / "passages.jsonl"
    lines = [response(topic, found) for topic, found in facts.items()]
    lines.append({"topic": "Lena Strand", "output": "I do not know.", "annotations": None})
    with gzip.open(labels, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    with open(pages, "w", encoding="utf-8") as file:
        for topic, texts in passages.items():
            file.writelines(
                json.dumps({"topic": topic, "title": topic, "text": text}) + "\n" for text in texts
            )
    return labels, pages
