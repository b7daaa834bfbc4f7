"""What the services need from outside, as small protocols. `aws` and `testing` implement each of them."""

from chronos_ec2.ports.compute import Clock, Deadlines, Fleet, Relauncher, Resource
from chronos_ec2.ports.environment import (
    Catalogue,
    Deployment,
    Notifier,
    Price,
    Prices,
    SetupChecks,
    Stack,
    Subscription,
    SubscriptionState,
    Timetable,
)
from chronos_ec2.ports.model_hub import HubFiles, ModelHub
from chronos_ec2.ports.storage import (
    ListedObject,
    LogStreams,
    ObjectStore,
    ObjectTransfer,
    Source,
    StoredObject,
    Upload,
)

__all__ = [
    "Catalogue",
    "Clock",
    "Deadlines",
    "Deployment",
    "Fleet",
    "HubFiles",
    "ListedObject",
    "LogStreams",
    "ModelHub",
    "Notifier",
    "ObjectStore",
    "ObjectTransfer",
    "Price",
    "Prices",
    "Relauncher",
    "Resource",
    "SetupChecks",
    "Source",
    "Stack",
    "StoredObject",
    "Subscription",
    "SubscriptionState",
    "Timetable",
    "Upload",
]
