"""Errors of BLADE: a small model that writes knowledge for a black box."""

from __future__ import annotations

from lacy.errors.entry import DATA, SOURCE, USAGE, Entry

ENTRIES = {
    "E390": Entry(
        "{where} cannot be used as a question: {why}",
        "give every line the fields question and answer (and knowledge for lacy blade tune); the "
        "answer is one of the options, if there are any",
        DATA,
    ),
    "E391": Entry(
        "no triples from {path}: {why}",
        "give a table with a column of names and columns of values, or texts whose facts are "
        "marked (lacy data mark), or let a black box write them: --black-box http://host/v1#model",
        DATA,
        "A triple is a question, the knowledge that answers it, and the answer.",
    ),
    "E392": Entry(
        "the cap is reached: {requests} requests for ${cost} (cap: {cap})",
        "run the same command with a higher --max-cost or --max-requests; nothing is paid twice",
        SOURCE,
        "A request is not sent if its highest possible cost would exceed the cap, so the command "
        "may stop a little before the cap is spent.",
    ),
    "E393": Entry(
        "the black box {name} does not answer: {why} ({done})",
        "check the server, the model's name and the key, and run the same command again: what was "
        "answered is stored",
        SOURCE,
        "A question without an answer is never counted as wrong. An evaluation is repeated a few "
        "times, then the command stops.",
    ),
    "E394": Entry(
        "no blade in {path}: {why}",
        "make one: lacy blade optimise MODEL --questions dev.jsonl --out {path} "
        "--black-box http://host/v1#model",
        DATA,
    ),
    "E395": Entry(
        "this soft prompt does not fit {model}: {why}",
        "use the model that it was optimised with, or optimise again: lacy blade optimise",
        DATA,
        "A soft prompt is a few vectors in the space of one model's embeddings; any other model, "
        "also the same one after more training, reads noise.",
    ),
    "E396": Entry(
        "{name} is no address of a black box",
        "give address and model: http://host:port/v1#model",
        USAGE,
    ),
    "E397": Entry(
        "{why}, so there is no knowledge to give",
        "choose --knowledge model, retrieval, both or none, and give --documents INDEX for "
        "retrieval (lacy source build makes one)",
        USAGE,
    ),
    "E398": Entry(
        "{model} calls, and the texts have no marks that say where ({why})",
        "mark them (lacy data mark TEXTS --tokenizer {model} --out packed) and give --data packed, "
        "or start from a model that does not call",
        DATA,
        "A model that calls goes on learning where to call. Without marks it would unlearn it.",
    ),
}
