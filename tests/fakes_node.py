"""A real Anvil as the tests of the feed need it: with an event to emit."""

from __future__ import annotations

from typing import Any, Self

import msgspec

from chimera.domain.block import Address
from chimera.rpc.client import HttpClient
from chimera.rpc.multicall import MULTICALL3
from chimera.rpc.wire import hexed
from devnet.artifacts import multicall3_creation

ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Any)
EMITTER = Address(b"\xee" * 20)
OTHER = Address(b"\xdd" * 20)
TOPIC = b"\xaa" * 32
SENDER = "0x" + "5e" * 20
# LOG1 of the call data: calldatacopy(0, 0, calldatasize) log1(0, calldatasize, TOPIC)
EMITS = bytes.fromhex("365f5f377f" + TOPIC.hex() + "365fa100")


class Chain:
    """Drives one node by hand."""

    def __init__(self, url: str) -> None:
        self.client = HttpClient(url)

    async def __aenter__(self) -> Self:
        for address in (EMITTER, OTHER):
            await self.rpc("anvil_setCode", hexed(address), hexed(EMITS))
        await self.rpc("anvil_setBalance", SENDER, hex(10**24))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def rpc(self, method: str, *params: object) -> Any:  # noqa: ANN401
        return await self.client.call(method, list(params), ANY, purpose="test")

    async def emit(self, data: bytes, *, by: Address = EMITTER) -> None:
        sent = {
            "from": SENDER,
            "to": hexed(by),
            "data": hexed(data),
            "gas": hex(100_000),
            "gasPrice": "0x0",
        }
        await self.rpc("eth_sendTransaction", sent)

    async def mine(self, *events: bytes) -> None:
        """Mine one block with one log per event."""
        for data in events:
            await self.emit(data)
        await self.rpc("evm_mine")

    async def install_multicall3(self) -> None:
        runtime = await self.rpc("eth_call", {"data": hexed(multicall3_creation())}, "latest")
        await self.rpc("anvil_setCode", hexed(MULTICALL3), runtime)

    async def hashes(self, first: int, last: int) -> list[str]:
        return [
            (await self.rpc("eth_getBlockByNumber", hex(number), False))["hash"]  # noqa: FBT003
            for number in range(first, last + 1)
        ]
