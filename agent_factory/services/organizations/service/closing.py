"""The end of one's own account: its owner leaves every organisation at once."""

from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor, system
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations.queries import organizations
from agent_factory.services.organizations.service.authority import keep_an_owner


async def close_account(
    platform: Platform, credentials: auth.Credentials, actor: Actor, *, password: str, code: str | None
) -> None:
    """Close the caller's account: memberships and keys end, sessions too, and the address lets nobody in any more.

    Raises `NoAccount`, `WrongPassword`, `OtpRequired`, `OtpRefused`,
    `TooManyAttempts`, or `LastOwner` while nobody else leads one of his
    organisations.
    """
    account = await auth.prove_owner(platform, actor, password, code)
    async with platform.database.system() as session:
        for each in await auth.memberships_to_end(session, account.id):
            # the organisations first, as everything does that changes who is in them
            await organizations.hold(session, each.organization_id)
        users = await auth.memberships_to_end(session, account.id)
        ended = await auth.close_account(session, platform, account, users, code)
        for each in users:
            of = system(each.organization_id, each.id)
            await keep_an_owner(session, of, each)
            await auth.remove_member(session, of, each)
    for session_id in ended:
        credentials.forget(session_id=session_id)
    for each in users:
        credentials.forget(user_id=each.id)
