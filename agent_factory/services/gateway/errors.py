"""What can go wrong at the doors of the gateway."""

from agent_factory.kit.errors import Conflict, FieldError, Kind, NotFound, Problem


class BadRequest(Problem):
    """A request that breaks its protocol.

    `param` names the field as OpenAI writes it (`messages[0].role`), and `why`
    says in a few words what is wrong with it.
    """

    kind = Kind.MALFORMED
    code = "invalid_request"
    title = "The request breaks the protocol"

    def __init__(self, detail: str, param: str = "", why: str = "not accepted") -> None:
        """Keep the sentence and the field that it is about."""
        super().__init__(detail, errors=[FieldError(f"/{param}", why)] if param else None)


class Unsupported(BadRequest):
    """A field of the protocol that no agent can honour."""

    code = "unsupported_parameter"
    title = "The parameter is not supported"


class ModelNotFound(NotFound):
    """A model id that names no deployed agent of the caller's organisation."""

    code = "model_not_found"
    title = "There is no such model"


class ResponseNotFound(NotFound):
    """A response that is not stored, or not the caller's to see."""

    code = "response_not_found"
    title = "There is no such response"


class ApprovalPending(Conflict):
    """A turn that cannot end before a person has decided."""

    code = "approval_pending"
    title = "The turn waits for a person's decision"


class NoEmbeddings(BadRequest):
    """A model that cannot turn texts into vectors."""

    code = "no_embeddings"
    title = "The model has no embeddings"


class PreviousNotFound(BadRequest):
    """A response to continue from that is not stored, or not the caller's."""

    code = "previous_response_not_found"
    title = "There is no such previous response"


class ConversationNotFound(BadRequest):
    """A conversation that does not exist, or is not the caller's."""

    code = "conversation_not_found"
    title = "There is no such conversation"


class ResultsMissing(BadRequest):
    """A conversation whose last turn waits for the results of the caller's tools."""

    code = "tool_results_missing"
    title = "The conversation waits for results of tools"
