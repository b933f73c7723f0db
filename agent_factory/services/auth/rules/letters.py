"""What the letters about accounts say."""

from typing import NamedTuple

from agent_factory.services.auth.rules.accounts import ISSUER


class Words(NamedTuple):
    """A letter's subject and text."""

    subject: str
    text: str


def verification(email: str, token: str) -> Words:
    """Ask whoever registered to show that the address is theirs."""
    return Words(
        f"{ISSUER}: confirm your address",
        f"Somebody, probably you, has registered {email} at {ISSUER}.\n\n"
        "Confirm it within a day, with the password that you chose:\n\n"
        f"    agent-factory account verify --email {email} {token}\n\n"
        "If it was not you, do nothing: nobody gets in without your confirmation.\n",
    )


def already_registered(email: str, *, disabled: bool = False) -> Words:
    """Tell the owner of an account that somebody tried to register its address."""
    if disabled:
        return Words(
            f"{ISSUER}: your account is disabled",
            f"Somebody, probably you, has tried to register {email} at {ISSUER}. There is an account with this "
            "address, which was closed or disabled.\n\n"
            "Only the operator of the installation can enable it again; ask there.\n",
        )
    return Words(
        f"{ISSUER}: you have an account",
        f"Somebody, probably you, has tried to register {email} at {ISSUER}, but there is an account with this "
        "address already.\n\n"
        "Log in with its password. If you do not remember it, ask for a new one:\n\n"
        f"    agent-factory account forgot-password --email {email}\n",
    )


def reset(email: str, token: str) -> Words:
    """Let somebody who forgot the password choose another."""
    return Words(
        f"{ISSUER}: choose a new password",
        f"Somebody, probably you, has asked for a new password for {email} at {ISSUER}.\n\n"
        "Choose it within the hour:\n\n"
        f"    agent-factory account reset-password --email {email} {token}\n\n"
        "If it was not you, do nothing: your password stays as it is.\n",
    )


def password_changed(email: str) -> Words:
    """Tell the owner of an account that its password is another now."""
    return Words(
        f"{ISSUER}: your password was changed",
        f"The password for {email} at {ISSUER} was changed, and every other session was ended.\n\n"
        "If it was not you, choose a new one at once:\n\n"
        f"    agent-factory account forgot-password --email {email}\n",
    )


def account_disabled(email: str) -> Words:
    """Tell the owner of an account that the operator has disabled it."""
    return Words(
        f"{ISSUER}: your account was disabled",
        f"The operator has disabled the account {email} at {ISSUER}. Its sessions were ended, and its API keys are "
        "refused.\n\n"
        "A new password does not change that. Ask the operator if you think that it is a mistake.\n",
    )


def account_enabled(email: str) -> Words:
    """Tell the owner of an account that it can be used again."""
    return Words(
        f"{ISSUER}: your account was enabled",
        f"The operator has enabled the account {email} at {ISSUER} again. Log in with your password:\n\n"
        f"    agent-factory login --email {email}\n",
    )


def account_closed(email: str) -> Words:
    """Tell the owner of an account that it is closed."""
    return Words(
        f"{ISSUER}: your account was closed",
        f"The account {email} at {ISSUER} was closed, with its password. It has left every organisation, its "
        "sessions were ended, and its API keys are gone.\n\n"
        "If it was not you, tell the operator of the installation at once, who can enable it again.\n",
    )
