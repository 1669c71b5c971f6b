"""Small language models that say what they can and call for the rest.

The plan of the house, from the roof down; a room imports only from rooms below it:

    cli/          the command line, one file per command
    testing.py    byte tokenizer, scripted model and source, for tests and demonstrations
    serve/        one model and its source behind OpenAI's API, many texts at once
    study/        methods x seeds x sizes as one plan that can be stopped, with tidy results
    report/       pages, tables and figures made from results; runs no model
    evaluate/     facts right and wrong, closed-book recall, call quality, intervals
    cascade/      who speaks next: engine, policies, traces
    train/        the training loop, its schedule and checkpoints; the Trainer adapter
    sources/      who answers calls: a database, a language model, a script
    model/        presets, the <CALL> row, saving and loading, batched decoding
    objective/    which tokens to delegate, and the loss that teaches it
    annotate/     which words carry facts: characters, then tokens
    corpus/       read texts, train tokenizers, pack rows
    world/        made-up people whose every fact is known, and texts about them
    remote/       HTTP to model servers: retries, deadlines, server-sent events, event loops
    run.py        run folders: settings, versions, metrics, a card
    config.py     settings: one dataclass is object, YAML file and flags
    disk.py       atomic writes, locks, errors of a full or failing disk
    types.py      the values that pass between rooms
    errors/       every error a user can meet: what happened, what to type next

The way of a text: ``read`` it, mark its facts (``annotate``), ``encode`` both into tokens, pack
them (``PackedData``), ``train`` a model that calls where facts are due, and let an ``Engine``
speak with a source that answers; ``evaluate`` holds the answers against the truth. The lower half
(``annotate`` and below) imports no torch. ``import lacy`` imports nothing heavy: the names below
are looked up when they are first used.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
