"""Errors of distillation."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E300-E309: distillation
    "E300": Entry(
        "{student} and {teacher} have different tokens ({size:,} and {other:,})",
        "give a teacher with the student's tokenizer: the model that the student was made from, or "
        "a larger one of its family",
        DATA,
        "The teacher's probabilities are compared with the student's token by token, so both need "
        "the same vocabulary. The ids of both must mean the same, not only their number.",
    ),
    "E301": Entry(
        "there are no stored predictions of a teacher in {folder}: {why}",
        "give the folder that lacy distill --store wrote, or the teacher itself (--teacher)",
        DATA,
        "Stored predictions are a folder with teacher.json and one file for each block of rows.",
    ),
    "E302": Entry(
        "{folder} has no predictions for {missing} of {blocks} blocks of {rows} rows",
        "complete them: the same command with --teacher TEACHER",
        DATA,
        "Predictions are stored by the tokens of the rows. They are missing if storing them was "
        "interrupted, or if the texts, their order or the length of the rows have changed.",
    ),
    "E303": Entry(
        "it is not known which rows of the data a batch contains, so {folder} cannot be used",
        "make the batches with MicroBatch.of(columns, device, rows=numbers), or use LiveTeacher",
        USAGE,
        "Stored predictions are found by the number of the row. Replayed rows have none.",
    ),
    "E304": Entry(
        "{folder} contains predictions of another kind ({changed})",
        "choose another folder (--store), or delete this one",
        DATA,
        "A folder belongs to one teacher, one temperature and one number of tokens per position.",
    ),
    "E305": Entry(
        "the data have no marks, so it is unknown where the student may call (imitate {imitate})",
        "mark them: lacy data mark TEXTS --out FOLDER; or imitate the teacher everywhere: "
        "--imitate all",
        USAGE,
        "Where the student may call a source, the teacher is not imitated. These places are known "
        "from the marks of fact tokens.",
    ),
    "E306": Entry(
        "distillation needs a teacher: {why}",
        "give one: --teacher MODEL, or --store FOLDER with stored predictions",
        USAGE,
        "Without a teacher, train on the texts alone: lacy train.",
    ),
    "E307": Entry(
        "cannot distil on the student's own texts: {why}",
        "{do}",
        USAGE,
        "The student continues prompts, and its teacher corrects every token.",
    ),
}
