"""What an answer of a registry says of itself, and what it means where it is no content: absent, refused, or away.

A registry that refuses is not one that is away, and an image that is not there is not an unsigned one: the first is for
whoever gives permissions, the second may be waited for. Amazon ECR says of a repository that it does not exist only
where that is so; others hide behind the same words what they do not show.

spec: OCI distribution 1.1, errors; Amazon ECR, pull-through cache rules.
"""

from __future__ import annotations

from webhook.errors import Code, InconclusiveError, MalformedError, RejectedError, quote
from webhook.network import Answer
from webhook.oci import ecr, reference
from webhook.oci.complaint import codes, said
from webhook.oci.reference import Digest, Repository

UNKNOWN_REPOSITORY = "NAME_UNKNOWN"


def announced(answer: Answer, repository: Repository) -> Digest | None:
    """The digest that `answer` claims for what was asked; `None` where it claims none. Raises: RejectedError."""
    text = answer.headers.get("Docker-Content-Digest")
    if text is None:
        return None
    try:
        return reference.parse_digest(text)
    except MalformedError as error:
        raise RejectedError(
            Code.REGISTRY_VIOLATION, f"{quote(str(repository))}: Docker-Content-Digest: {error.detail}"
        ) from error


def media_type(answer: Answer) -> str:
    """Of the body, in lower case and without parameters; empty where none is said."""
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def recoded(answer: Answer) -> str:
    """That the body was sent in another encoding than was asked for, for a message; empty where it was not."""
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding == "identity":
        return ""
    return f" (sent with Content-Encoding {quote(encoding, max_chars=40)}, identity was asked for)"


def not_found(repository: Repository, tag: str, answer: Answer) -> RejectedError | InconclusiveError:
    """What is wrong where `tag` could not be resolved."""
    if answer.status != 404:
        return odd(repository, answer)
    if is_pull_through(repository):
        return absent(repository, answer)
    return RejectedError(Code.IMAGE_NOT_FOUND, f"{quote(str(repository))} has no tag {quote(tag)}{said(answer)}")


def odd(repository: Repository, answer: Answer) -> InconclusiveError:
    """What is wrong where any other status was expected: only a registry that is away may be waited for."""
    code = Code.ACCESS_DENIED if 400 <= answer.status < 500 else Code.REGISTRY_UNAVAILABLE
    return InconclusiveError(code, f"{quote(str(repository))}: unexpected answer {answer.status}{said(answer)}")


def is_pull_through(repository: Repository) -> bool:
    """Whether it looks like one in which ECR keeps another registry's images."""
    return ecr.is_pull_through(repository.compared_host, repository.segments)


def check_exists(repository: Repository, answer: Answer) -> None:
    """Raises: RejectedError, InconclusiveError, where `answer` says that there is no such repository.

    Of ECR alone, which says so only then: what is attached to an image cannot be known where the image itself is not.
    """
    if answer.status == 404 and ecr.matching_form(repository.compared_host) and UNKNOWN_REPOSITORY in codes(answer):
        raise absent(repository, answer)


def absent(repository: Repository, answer: Answer) -> RejectedError | InconclusiveError:
    """A repository or image that is not there: whether it could be is another question in a pull-through cache."""
    if is_pull_through(repository):
        return InconclusiveError(
            Code.NOT_CACHED,
            f"{quote(str(repository))}: not in this pull-through cache yet{said(answer)}: whoever asks first needs"
            f" {ecr.NEEDED_TO_IMPORT}, and upstream must have it",
        )
    return RejectedError(Code.IMAGE_NOT_FOUND, f"{quote(str(repository))}: there is no such repository{said(answer)}")
