"""A small synchronous driver of one node: send, mine, read. For the stage set only."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from devnet.artifacts import Artifact, multicall3_creation

MULTICALL3 = "0xcA11bde05977b3631167028862bE2a173976CA11"
TIMEOUT = 120.0
GAS = 3_000_000  # ample for every user action, so that nothing has to be estimated
DEPLOY_GAS = 60_000_000
BALANCE = 10**24  # wei for each sender, where gas costs something
CALLS_PER_MULTICALL = 500

AGGREGATE3 = Artifact(
    "Multicall3",
    [
        {
            "type": "function",
            "name": "aggregate3",
            "inputs": [
                {
                    "name": "calls",
                    "type": "tuple[]",
                    "components": [
                        {"name": "target", "type": "address"},
                        {"name": "allowFailure", "type": "bool"},
                        {"name": "callData", "type": "bytes"},
                    ],
                }
            ],
            "outputs": [
                {
                    "name": "returnData",
                    "type": "tuple[]",
                    "components": [
                        {"name": "success", "type": "bool"},
                        {"name": "returnData", "type": "bytes"},
                    ],
                }
            ],
        }
    ],
    "0x",
)


class RpcError(Exception):
    """The node answered with an error; the message is the node's."""


class Reverted(Exception):
    """A transaction that has to succeed did not."""


@dataclass(frozen=True)
class Contract:
    """A deployed contract: where it is and how to speak to it."""

    address: str
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction to send; `kind` is what it is counted as."""

    sender: str
    to: str
    data: bytes
    kind: str = ""
    gas: int = GAS


class Node:
    """
    One keep-alive connection to one node.

    Transactions go out one request at a time, with explicit nonce and gas, so that their order in
    the block is the order of the calls. Reads are for a chain that stands still: the caller mines.

    Attributes:
        waiting: Hashes of what was sent since the last block, in order.
    """

    def __init__(self, url: str, *, fund: bool = False) -> None:
        parts = urlsplit(url)
        self.url = url
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.netloc, timeout=TIMEOUT)
        self._place = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._nonces: dict[str, int] = {}
        self._fund = fund
        self._id = 0
        self.waiting: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def rpc(self, method: str, *params: object) -> Any:  # noqa: ANN401 - whatever the node says
        """
        Make one request.

        Raises:
            RpcError: The node refused.
        """
        self._id += 1
        body = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", self._place, json.dumps(body), headers)
        answer = json.loads(self._connection.getresponse().read())
        if "error" in answer:
            raise RpcError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    # -- the chain ------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """The newest block's number."""
        return int(self.rpc("eth_blockNumber"), 16)

    def block(self, number: int | str = "latest") -> dict[str, Any]:
        """Return a block as the node describes it."""
        whole_transactions = False
        block: dict[str, Any] = self.rpc("eth_getBlockByNumber", tag(number), whole_transactions)
        return block

    @property
    def time(self) -> int:
        """The newest block's timestamp, seconds."""
        return int(self.block()["timestamp"], 16)

    def mine(self, seconds: int = 2) -> int:
        """Mine one block with everything sent so far, `seconds` after the last. Its number."""
        self.rpc("evm_mine", self.time + seconds)
        self.waiting.clear()
        return self.number

    def snapshot(self) -> str:
        """Remember the chain as it stands."""
        identity: str = self.rpc("evm_snapshot")
        return identity

    def revert(self, identity: str) -> None:
        """Go back to a snapshot (which is used up by it)."""
        self.rpc("evm_revert", identity)
        self._nonces.clear()
        self.waiting.clear()

    def reorg(self, depth: int) -> None:
        """Replace the last `depth` blocks by empty ones."""
        self.rpc("anvil_reorg", depth, [])
        self._nonces.clear()
        self.waiting.clear()

    # -- writing --------------------------------------------------------------------------------

    def send(self, transaction: Transaction) -> str:
        """Put a transaction into the mempool; it is mined by the next `mine`. Its hash."""
        request = {
            "from": transaction.sender,
            "to": transaction.to,
            "data": "0x" + transaction.data.hex(),
        }
        return self._send(request, transaction.gas)

    def deploy(self, sender: str, creation: bytes) -> str:
        """Send a deployment; the address is returned before the block is mined."""
        nonce = self._nonce(sender)
        self._send({"from": sender, "data": "0x" + creation.hex()}, DEPLOY_GAS)
        return created(sender, nonce)

    def statuses(self, number: int | str = "latest") -> dict[str, bool]:
        """Return, per transaction hash of a block, whether it succeeded."""
        receipts = self.rpc("eth_getBlockReceipts", tag(number))
        return {r["transactionHash"]: r["status"] == "0x1" for r in receipts}

    def settle(self, seconds: int = 2) -> int:
        """
        Mine one block in which everything has to succeed. Its number.

        Raises:
            Reverted: Something did not.
        """
        number = self.mine(seconds)
        failed = [found for found, fine in self.statuses(number).items() if not fine]
        if failed:
            raise Reverted(f"{len(failed)} transactions of block {number} reverted: {failed[0]}")
        return number

    def install_multicall3(self, sender: str) -> None:
        """Put Multicall3 where every chain has it."""
        born = self.deploy(sender, multicall3_creation())
        self.settle()
        self.rpc("anvil_setCode", MULTICALL3, self.rpc("eth_getCode", born, "latest"))

    # -- reading --------------------------------------------------------------------------------

    def call(self, to: str, data: bytes, block: int | str = "latest") -> bytes:
        """Make an `eth_call`; raises RpcError where it reverts."""
        return bytes_of(self.rpc("eth_call", {"to": to, "data": "0x" + data.hex()}, tag(block)))

    def read(self, target: Contract, function: str, *arguments: object) -> Any:  # noqa: ANN401
        """Call a view at the newest block; a single answer comes without its tuple."""
        data = target.artifact.encode(function, *arguments)
        answers = target.artifact.decode(function, self.call(target.address, data))
        return answers[0] if len(answers) == 1 else answers

    def multicall(
        self, calls: Sequence[tuple[str, bytes]], block: int | str = "latest"
    ) -> list[bytes | None]:
        """Make many calls at one block through Multicall3; None where one reverts."""
        answers: list[bytes | None] = []
        for start in range(0, len(calls), CALLS_PER_MULTICALL):
            part = [(to, True, data) for to, data in calls[start : start + CALLS_PER_MULTICALL]]
            answer = self.call(MULTICALL3, AGGREGATE3.encode("aggregate3", part), block)
            results = AGGREGATE3.decode("aggregate3", answer)[0]
            answers += [data if fine else None for fine, data in results]
        return answers

    def logs(
        self,
        *,
        addresses: Sequence[str] = (),
        topics: Sequence[bytes] = (),
        first: int = 0,
        last: int | str = "latest",
    ) -> list[dict[str, Any]]:
        """Return the logs of a range of blocks, by emitter and first topic."""
        query: dict[str, Any] = {"fromBlock": tag(first), "toBlock": tag(last)}
        if addresses:
            query["address"] = list(addresses)
        if topics:
            query["topics"] = [["0x" + topic.hex() for topic in topics]]
        found: list[dict[str, Any]] = self.rpc("eth_getLogs", query)
        return found

    def _send(self, request: dict[str, str], gas: int) -> str:
        sender = request["from"]
        nonce = self._nonce(sender)
        price = {"gas": hex(gas), "gasPrice": hex(10**9 if self._fund else 0), "nonce": hex(nonce)}
        sent: str = self.rpc("eth_sendTransaction", request | price)
        self._nonces[sender] = nonce + 1
        self.waiting.append(sent)
        return sent

    def _nonce(self, sender: str) -> int:
        if sender not in self._nonces:
            self._nonces[sender] = int(self.rpc("eth_getTransactionCount", sender, "latest"), 16)
            if self._fund:
                self.rpc("anvil_setBalance", sender, hex(BALANCE))
        return self._nonces[sender]


def tag(block: int | str) -> str:
    """Return a block number as the node wants it; a name passes as it is."""
    return hex(block) if isinstance(block, int) else block


def bytes_of(text: str) -> bytes:
    """Return the bytes behind 0x-prefixed hex."""
    return bytes.fromhex(text[2:])


def address_in(word: str) -> str:
    """Return the address in a 32-byte topic, with its checksum."""
    return to_checksum_address("0x" + word[-40:])


def created(sender: str, nonce: int) -> str:
    """Return the address of the contract that `sender` creates with its `nonce`-th transaction."""
    body = rlp_item(bytes_of(sender)) + rlp_item(
        nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    )
    return to_checksum_address(keccak(bytes([0xC0 + len(body)]) + body)[12:])


def rlp_item(item: bytes) -> bytes:
    """Return a short byte string in RLP."""
    return item if len(item) == 1 and item[0] < 0x80 else bytes([0x80 + len(item)]) + item
