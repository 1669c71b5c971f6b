from .protocol import Client, State
from .settings import FederateSettings
from .split import Skew, client_folders, split_documents

__all__ = [
    "Client",
    "FederateSettings",
    "Skew",
    "State",
    "client_folders",
    "split_documents",
]
