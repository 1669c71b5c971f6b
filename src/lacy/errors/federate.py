"""Errors of federated training."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E330-E344: federated training
    "E330": Entry(
        "{path} contains no clients: {why}",
        "give a folder with one file (or folder) of texts for each client, or split one file among "
        "simulated clients: --data FILE --simulate 8",
        USAGE,
        "The name of a file or folder is the name of its client.",
    ),
    "E331": Entry(
        "{texts} texts or samples are too few for {clients} clients",
        "give at least one per client, or fewer clients (--simulate)",
        DATA,
        "Every simulated client needs at least one.",
    ),
    "E332": Entry(
        "{document} has no field {field!r}{known}",
        "name the field with the topic (--topic-field), or split at random (--skew none)",
        DATA,
        "To split texts by topic, every text needs one.",
    ),
    "E333": Entry(
        "the server's state in {path} is damaged: {why}",
        "restore it from a copy, or choose another folder (--out) to start again",
        DATA,
        "After each round, the file is written atomically, so an interruption does not damage it.",
    ),
    "E334": Entry(
        "the server's state in {path} belongs to another federation ({why})",
        "choose another folder (--out), or use the model and the settings that it began with",
        USAGE,
        "Rounds, quorum, deadline and budget may change when a federation continues.",
    ),
    "E335": Entry(
        "there are no clients in round {round}",
        "start clients and repeat the command: the federation goes on after its last round",
        USAGE,
        "The server knows the clients that are connected when a round begins.",
    ),
    "E336": Entry(
        "none of the {clients} clients has usable data",
        "check a client's texts with: lacy data check FILE; samples need prompt, chosen and "
        "rejected, or prompt and reply",
        DATA,
        "Clients without data take no part; at least one must have some.",
    ),
    "E337": Entry(
        "after {rounds} rounds the model has not changed; the last reason: {why}",
        "see why updates were refused or clients failed: federation.json in the folder of results",
        DATA,
        "A round changes the model only if enough updates are accepted. No model was written.",
    ),
    "E338": Entry(
        "only {found} of {count} clients are connected after {seconds} seconds",
        "start more clients (flower-supernode), or wait for fewer: flwr run ... -c 'clients=1'",
        USAGE,
        "A federation over a network begins when enough clients are connected.",
    ),
    "E339": Entry(
        "client {client!r} has no texts",
        'name them in the settings of its node: --node-config \'client="berlin" texts="FILE"\'',
        USAGE,
        "The settings of a node never leave it.",
    ),
    "E340": Entry(
        "the server's state does not fit this model: {why}",
        "use the model and the settings of the server",
        DATA,
        "A client trains the tensors that it receives, so both sides need the same model, depth "
        "and rank.",
    ),
}
