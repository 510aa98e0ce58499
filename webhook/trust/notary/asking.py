"""Every question about revocation goes to whom it is for: AWS Signer, or the responders that a chain names.

spec: Notary Project, signature specification, revocation; AWS Signer, GetRevocationStatus.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from webhook.trust.notary.inquiry import ChainInquiry, Inquiry, SignerInquiry, Status
from webhook.trust.notary.responders import Observer

AskSigner = Callable[[SignerInquiry], Awaitable[Status]]
AskResponders = Callable[[ChainInquiry], Awaitable[Status]]


class Asking:
    """`observe` is told of each answer of AWS Signer's; the responders tell of theirs where they are really asked."""

    def __init__(self, *, signer: AskSigner, responders: AskResponders, observe: Observer) -> None:
        self._signer, self._responders, self._observe = signer, responders, observe

    async def standing(self, inquiry: Inquiry) -> Status:
        """What is known of what `inquiry` asks for."""
        match inquiry:
            case ChainInquiry():
                return await self._responders(inquiry)
            case SignerInquiry():
                started = time.perf_counter()
                status = await self._signer(inquiry)
                self._observe("signer", "stale" if status.stale else status.standing, time.perf_counter() - started)
                return status
