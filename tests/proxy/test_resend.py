import httpx
import pytest

from proxy.model import Origin
from proxy.resend import resend_over


@pytest.mark.parametrize(("status", "usable"), [(200, True), (599, True), (99, False), (600, False)])
async def test_an_answer_of_no_status_that_there_is_is_not_usable(status: int, *, usable: bool) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, stream=httpx.ByteStream(b"said")))
    async with httpx.AsyncClient(transport=transport) as http:
        answer = await resend_over(http)(Origin("discord.com", 443), "GET", "/", ())
    assert (answer is not None) is usable
