"""Access: whether the URL's user is allowed what reliq sends."""

from __future__ import annotations

from collections.abc import Iterator

from reliq.doctor.finding import Finding, Kind, Level, Unknown, some, well
from reliq.doctor.needs import Question, questions
from reliq.doctor.subject import Subject
from reliq.errors import Refused

COMMANDS_REFUSED = Kind(
    "commands-refused",
    Level.PROBLEM,
    "as a {role}, {user} may not send {commands}",
    "What needs them fails, and is tried again and again.",
    "Extend the user's ACL by these commands: ACL SETUSER NAME +command, and the same in the server's ACL file.",
)
KEYS_REFUSED = Kind(
    "keys-refused",
    Level.PROBLEM,
    "as a {role}, {user} may not do {commands} on {keys}",
    "What needs them fails, and is tried again and again.",
    "Extend the user's ACL by these patterns: ACL SETUSER NAME ~pattern, and the same in the server's ACL file.",
)
COMMANDS_MISSED = Kind(
    "commands-missed",
    Level.NOTE,
    "as a {role}, {user} may not send {commands}",
    "reliq does without them. Without CLIENT, recovery waits for the TTL of a dead process, a stop for its doorbells. "
    "Without INFO, workers do not warn of a wrong maxmemory-policy.",
    "Allow them, if you can.",
)


def access(subject: Subject) -> Iterator[Finding]:
    """Whether the user of the URL may send what reliq sends, on the keys where it does."""
    user = _user(subject)
    for role in subject.roles:
        required, missed = questions(role, subject.keys)
        refused = _refused(subject, [*required, *missed])
        commands = {question.name for question, of_key in refused if not of_key and question in required}
        if commands:
            yield COMMANDS_REFUSED.found(role=role, user=user, commands=some(sorted(commands), 10))
        keys = [question for question, of_key in refused if of_key and question.name not in commands]
        if keys:
            yield KEYS_REFUSED.found(
                role=role,
                user=user,
                commands=some(sorted({question.name for question in keys}), 10),
                keys=some(sorted({key for question in keys for key in question.keys}), 10),
            )
        lacking = [question.name for question, _ in refused if question in missed]
        if lacking:
            yield COMMANDS_MISSED.found(role=role, user=user, commands=some(lacking, 10))
        if not refused:
            yield well(f"{user} may do all that a {role} does")


def _user(subject: Subject) -> str:
    try:
        return f"user {subject.call('ACL', 'WHOAMI').decode()}"
    except Refused:
        return "this user"


def _refused(subject: Subject, asked: list[Question]) -> list[tuple[Question, bool]]:
    """Return the questions that the server says no to, each with whether that is because of a key."""
    found = []
    for question, answer in zip(asked, _answers(subject, asked), strict=True):
        if answer:
            found.append((question, "to access" in answer))
    return found


def _answers(subject: Subject, asked: list[Question]) -> list[str]:
    """Return the server's objection to each question, empty if it has none.

    Inside a transaction a server checks every command when it comes, and executes none until EXEC. This needs no
    right but MULTI, tells of oneself, and works on every server. ACL DRYRUN is for administrators.
    """
    link = subject.store.link("doctor access")
    try:
        link.call("MULTI")
        replies = link.call_many([question.words for question in asked])
        return [
            str(reply) if isinstance(reply, Refused) and reply.code in ("NOPERM", "OLD") else "" for reply in replies
        ]
    except Refused as refusal:
        if refusal.code != "NOPERM":
            raise
    finally:
        link.close()  # and with it goes the transaction
    try:
        name = subject.call("ACL", "WHOAMI")
        replies = subject.link.call_all([("ACL", "DRYRUN", name, *question.words) for question in asked])
    except Refused as refusal:
        raise Unknown(f"MULTI and ACL DRYRUN are refused, one of them is needed to ask ({refusal})") from None
    return ["" if reply == b"OK" else reply.decode() for reply in replies]
