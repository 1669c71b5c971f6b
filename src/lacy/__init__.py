"""Small language models that state what they know and call a source for the rest.

The packages, from top to bottom; each imports only from those below it:

    cli/          the command line, one file per command
    testing.py    byte tokenizer, scripted model and source, for tests and demonstrations
    serve/        an OpenAI-compatible server for one model and its source
    study/        methods x seeds x sizes as one plan that can be stopped, with tidy results
    report/       pages, tables and figures made from results; runs no model
    compress/     makes a model smaller by a plan, and measures every stage
    scorecard/    all measurements of a model as one scorecard, and comparisons of two
    route/        which model or source answers a text: routers, budgets, explanations
    decide/       typed decisions: which option of a question fits a text, and how surely
    blade/        a small domain model writes knowledge for a black box, beside retrieval
    tune/         teaches pretrained models to call, from marked articles
    harness/      lm-eval with lacy's models, alone and with a source
    efficiency/   size, speed, memory, energy and price of a model
    evaluate/     precision, recall, closed-book recall, call quality
    factscore/    FActScore and recall: sentences, atomic facts, pages, scores
    judges/       whether passages support a fact: a verifier, word overlap; agreement with people
    cascade/      generation with calls: engine, policies, ranking, traces
    federate/     trains one model on texts of several clients, which keep them
    safety/       classifiers of harmful texts, refusals, sanitised samples, DPO on adapters
    diloco/       pretraining by several workers that exchange little and rarely
    distill/      trains a student on a teacher's predictions, not where it may call
    prune/        smaller models: fewer blocks, heads, neurons, channels or weights
    runtimes/     int8 weights, ONNX and safetensors files that other runtimes read
    quantize/     rounds models to the block types of GGUF files, within a budget
    edge/         simulates whether many devices can train a model: time, energy, bytes
    train/        the training loop, its schedule and checkpoints; the Trainer adapter
    sources/      what answers calls: databases, documents, language models, scripts
    encoder/      a BERT encoder of MiniLM's shape, its weights in bytes, vectors of texts
    layerwise/    goes through a model block by block: input statistics, error compensation
    deltas/       how a change of weights travels: codecs, error feedback, checks
    vocabulary/   smaller vocabularies: of a task, of a context, or cut off for good
    model/        presets, the <CALL> row, saving and loading, batched decoding
    objective/    which tokens to delegate, and the loss
    clean/        leaves out near-duplicates and texts of low quality
    annotate/     marks fact tokens: characters first, then tokens
    corpus/       reads texts, trains tokenizers, packs rows
    almanac/      facts of people, countries and elements that ship with lacy, and short articles
    records/      what a server keeps of its answers, if its operator wants that; users' verdicts
    results/      scores with intervals, results, tests of differences, stored answers
    world/        made-up people whose every fact is known, and texts about them
    remote/       HTTP to model servers: retries, deadlines, server-sent events, event loops
    run.py        run folders: settings, versions, metrics, a card
    config.py     settings: one dataclass is Python object, YAML file and flags
    disk.py       atomic writes, locks, errors of a full or failing disk
    types.py      the values that packages exchange
    errors/       every error a user can meet: what happened, what to do next

From texts to answers: ``read`` texts, mark their facts (``annotate``), ``encode`` texts and marks
into tokens, pack them into rows (``PackedData``), ``train`` a model that calls where facts are due,
generate with an ``Engine`` and a source, and compare the result with the truth (``evaluate``). The
packages up to ``annotate`` do not import torch. ``import lacy`` imports nothing heavy: the names
below are loaded on first use.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
