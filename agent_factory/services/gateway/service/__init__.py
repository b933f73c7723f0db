"""The gateway's face: which agents a caller may use, a turn of one, stored responses, vectors."""

from agent_factory.services.gateway.service.asking import Ask, begin
from agent_factory.services.gateway.service.embedding import embed
from agent_factory.services.gateway.service.offering import Offer, all_offers, offer, offers
from agent_factory.services.gateway.service.storing import Stored, begin_response, cancel, forget, stored

__all__ = [
    "Ask",
    "Offer",
    "Stored",
    "all_offers",
    "begin",
    "begin_response",
    "cancel",
    "embed",
    "forget",
    "offer",
    "offers",
    "stored",
]
