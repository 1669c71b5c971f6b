"""Errors of changes of weights that travel between processes, and of rare synchronisation."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E355-E364: changes of weights as bytes, rare synchronisation
    "E355": Entry(
        "a change of weights cannot be sent: {why}",
        "use a lower learning rate or a smaller gradient limit (clip), or a codec with a larger "
        "range (bf16, f32)",
        DATA,
        "NaN and infinite values spread to all participants of a mean, so they are refused where "
        "they arise.",
    ),
    "E356": Entry(
        "a message with a change of weights is refused: {why}",
        "let all participants use the same model, the same settings and the same version of lacy",
        DATA,
        "A receiver knows which names, shapes and types to expect and how long a message may be. "
        "Whatever differs is refused before it can change a model.",
    ),
    "E357": Entry(
        "unknown codec: {name}",
        "use one of {codecs}; int8/128 and int4/128 set the values per block (even, 8 to 65536), "
        "topk/0.03 the share of values that are sent",
        USAGE,
        "A codec decides in how many bits a change of weights travels.",
    ),
    "E358": Entry(
        "workers cannot train together with these settings:{problems}",
        "change the settings above; `lacy federate pretrain --help-all` explains each",
        USAGE,
    ),
    "E359": Entry(
        "no worker has sent a usable delta in round {round}{why}",
        "use a lower learning rate, or restart the workers; the same command resumes from the last "
        "checkpoint",
        DATA,
        "A round without any delta changes nothing, so a run would go on forever.",
    ),
    "E360": Entry(
        "{address} and its workers do not come together: {why}",
        "start the server first, and all workers with the same settings; `--join HOST:PORT` joins "
        "a run that is under way",
        DATA,
        "Server and workers meet at a TCP port. Workers that are killed or silent are left out and "
        "may join again while the run goes on.",
    ),
}
