from .aggregate import Aggregate, Aggregator, Mean, Strategy
from .aligning import align, split_samples
from .fit_client import FitClient, Proximal
from .flower import FlowerTransport, client_app, server_app
from .flower_app import texts_client, texts_server, write_flower_app
from .lora import ProductMean, refactor
from .message import RefusedError, decode_update, encode_update
from .payload import Payload
from .privacy import PrivateMean, derived_seed, epsilon_after
from .protocol import Client, State
from .robust import Krum, Median, TrimmedMean
from .rounds import Federation, Round
from .running import federate
from .server import FederationServer
from .settings import FederateSettings, RoundSettings
from .split import Skew, client_folders, split_documents
from .transport import ClientReply, InProcess, Transport

__all__ = [
    "Aggregate",
    "Aggregator",
    "Client",
    "ClientReply",
    "FederateSettings",
    "Federation",
    "FederationServer",
    "FitClient",
    "FlowerTransport",
    "InProcess",
    "Krum",
    "Mean",
    "Median",
    "Payload",
    "PrivateMean",
    "ProductMean",
    "Proximal",
    "RefusedError",
    "Round",
    "RoundSettings",
    "Skew",
    "State",
    "Strategy",
    "Transport",
    "TrimmedMean",
    "align",
    "client_app",
    "client_folders",
    "decode_update",
    "derived_seed",
    "encode_update",
    "epsilon_after",
    "federate",
    "refactor",
    "server_app",
    "split_documents",
    "split_samples",
    "texts_client",
    "texts_server",
    "write_flower_app",
]
