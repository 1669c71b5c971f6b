from .agreement import (
    FIT_AUROC,
    Agreement,
    JudgeCheck,
    agreement_of,
    check_judge,
    topic_hash,
)
from .by_name import DEFAULT_JUDGE, open_judge
from .causal import CausalJudge
from .endpoint import EndpointJudge
from .labels import (
    LabelledClaims,
    LabelledFact,
    LabelledResponse,
    labelled_claims,
    read_labelled_responses,
    read_topic_passages,
)
from .overlap import OverlapJudge
from .protocol import NO_FACT, NO_PASSAGES, Claim, Judge, Judgment
from .shipped import VERIFIER, StoredAgreement, load_verifier, stored_agreement, training_topics
from .verdicts import VerdictRule, read_verdict
from .verifier import Verifier

__all__ = [
    "DEFAULT_JUDGE",
    "FIT_AUROC",
    "NO_FACT",
    "NO_PASSAGES",
    "VERIFIER",
    "Agreement",
    "CausalJudge",
    "Claim",
    "EndpointJudge",
    "Judge",
    "JudgeCheck",
    "Judgment",
    "LabelledClaims",
    "LabelledFact",
    "LabelledResponse",
    "OverlapJudge",
    "StoredAgreement",
    "VerdictRule",
    "Verifier",
    "agreement_of",
    "check_judge",
    "labelled_claims",
    "load_verifier",
    "open_judge",
    "read_labelled_responses",
    "read_topic_passages",
    "read_verdict",
    "stored_agreement",
    "topic_hash",
    "training_topics",
]
