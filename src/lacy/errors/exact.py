"""Errors of measurements without a judge: audits, relations in texts."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    "E234": Entry(
        "{path} cannot be read as data of a deletion audit: {why}",
        "give a folder or .tar.gz of LMLMAudit's data, one of its .json databases, or a facts "
        "database such as facts.sqlite",
        DATA,
        "Beside a database NAME.json (a field “triplets” of [subject, relation, value]) lie its "
        "prompts, prompts/NAME/prompts_cloze.jsonl and so on, one JSON object per line with "
        "subject, relation, gold_object and prompt_text.",
    ),
    "E235": Entry(
        "{path} has nothing to audit: {why}",
        "give a folder or .tar.gz of LMLMAudit's data, or a facts database such as facts.sqlite",
        USAGE,
    ),
    "E236": Entry(
        "none of {count} questions says what it asks about, so they make no database",
        "give each question the fields subject and relation, as PopQA and EntityQuestions do, or a "
        "source of your own: --source facts.sqlite",
        DATA,
    ),
}
