"""What nodes say when they refuse, in the wordings that are met in the wild."""

import pytest

from chimera.errors import ChimeraError, RangeTooWide, Rebuild, Retry
from chimera.rpc.client import may_work_again
from chimera.rpc.endpoint import Endpoint
from chimera.rpc.faults import (
    LONGEST_ASKED_PAUSE,
    BatchTooLarge,
    Denied,
    NodeError,
    Reverted,
    StateGone,
    TooHeavy,
    UnknownBlock,
    Unsupported,
    fault_of,
    fault_of_status,
    pause_asked_for,
)

ALCHEMY = (
    "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and"
    " no limit on the response size, or you can request any block range with a cap of 10K logs in"
    " the response. Based on your parameters, this block range should work: [0x0, 0x1]"
)

TOO_WIDE = [
    (-32602, ALCHEMY),
    (-32000, "eth_getLogs requests are limited to 1000 blocks"),
    (-32005, "query returned more than 10000 results"),
    (-32005, "query returned more than 10000 results. Try with this block range [0x1, 0x2]."),
    (
        -32600,
        "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range",
    ),
    (-32614, "eth_getLogs is limited to a 10,000 range"),
    (-32602, "eth_getLogs and eth_newFilter are limited to a 10,000 blocks range"),
    (-32602, "block range is too wide"),
    (-32000, "block range too large"),
    (-32000, "exceed maximum block range: 50000"),
    (-32602, "query exceeds max block range 100000"),
    (-32602, "query exceeds max results 20000, retry with the range 1-200"),
    (-32005, "limit exceeded"),
    (35, "ranges over 10000 blocks are not supported on freetier"),
    (-32047, "Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. Max range: 800"),
    (-32000, "Block range limit exceeded. See more details at the documentation"),
    (-32603, "response is too big"),
    (-32008, "backend response too large"),
    (-32002, "request timed out"),
    (-32000, "query timeout exceeded"),
    (-32005, "Too many logs requested. Please narrow the filter."),
    (-32000, "too many results, please reduce the block range"),
]

UNKNOWN = [
    (-32000, "header not found"),
    (-32000, "header for hash not found"),
    (-32000, "unknown block"),
    (-32001, "Resource not found"),
    (-32000, "block not found: 0x99"),
    (-32000, "block with number 25 not found"),
    (-32602, "BlockOutOfRangeError: block height is 3 but requested was 153"),
    (
        -32000,
        "One of the blocks specified in filter (fromBlock, toBlock or blockHash) cannot be found.",
    ),
    (-32000, "hash 0x1234 is not currently canonical"),
    (-32000, "block range extends beyond current head block"),
    (-32602, "fromBlock is greater than latest block"),
]

GONE = [
    (-32000, "missing trie node 9f2b (path ) state 0x9f2b is not available"),
    (-32000, "required historical state unavailable (reexec=128)"),
    (-32000, "state at block #100 is pruned"),
    (-32000, "history has been pruned for this block"),
    (-32000, "No state available for block 12"),
    (-32602, "BlockOutOfRangeError: block height is 9 but requested was 5"),
    (-32701, "this request needs an archive node"),
]

LATER = [
    (-32005, "daily request count exceeded, request rate limited"),
    (-32016, "over rate limit"),
    (-32029, "Request limit exceeded"),
    (-32000, "Monthly quota reached"),
    (-32007, "15/second request limit reached - reduce calls per second"),
    (-32097, "rate limit exceeded: too many compute units"),
    (429, "Your app has exceeded its compute units per second capacity."),
    (-32005, "Too Many Requests"),
    (-32603, "Internal error"),
    (-32000, "no backends available"),
    (19, "Temporary internal error. Please retry"),
]


@pytest.mark.parametrize(("code", "message"), TOO_WIDE)
def test_a_range_of_logs_that_is_too_wide_is_recognised(code: int, message: str) -> None:
    assert type(fault_of(NodeError(code, message), "eth_getLogs")) is RangeTooWide


@pytest.mark.parametrize(("code", "message"), UNKNOWN)
def test_a_block_that_the_node_does_not_have_yet_is_recognised(code: int, message: str) -> None:
    for method in ("eth_call", "eth_getLogs"):
        fault = fault_of(NodeError(code, message), method)
        assert isinstance(fault, UnknownBlock)
        assert may_work_again(fault)


@pytest.mark.parametrize(("code", "message"), GONE)
def test_a_state_that_was_pruned_is_no_reason_to_try_again(code: int, message: str) -> None:
    fault = fault_of(NodeError(code, message), "eth_call")

    assert isinstance(fault, StateGone)
    assert isinstance(fault, Rebuild)
    assert not may_work_again(fault)


@pytest.mark.parametrize(("code", "message"), LATER)
def test_what_may_work_later_is_repeated(code: int, message: str) -> None:
    for method in ("eth_call", "eth_getLogs", ""):
        fault = fault_of(NodeError(code, message), method)
        assert type(fault) is Retry
        assert may_work_again(fault)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (-32601, "Method not found", Unsupported),
        (-32601, "the method eth_foo does not exist/is not available", Unsupported),
        (-32602, "invalid argument 0: hex string has length 1", Unsupported),
        (-32600, "Invalid request", ChimeraError),
        (-32700, "parse error", ChimeraError),
        (-32003, "transaction rejected", ChimeraError),
        (3, "execution reverted: no", Reverted),
        (-32000, "execution reverted", Reverted),
        (-32015, "VM execution error.", Reverted),
        (-32603, "EVM error OutOfGas", Reverted),
        (-32603, "EVM error InvalidFEOpcode", Reverted),
        (-32000, "gas required exceeds allowance (50000000)", Reverted),
    ],
)
def test_what_cannot_succeed_is_not_repeated(
    code: int, message: str, kind: type[ChimeraError]
) -> None:
    fault = fault_of(NodeError(code, message), "eth_call")

    assert type(fault) is kind
    assert not may_work_again(fault)


def test_a_call_that_takes_too_long_is_too_heavy_and_no_revert() -> None:
    fault = fault_of(NodeError(-32000, "execution aborted (timeout = 5s)"), "eth_call")

    assert isinstance(fault, TooHeavy)


@pytest.mark.parametrize(
    "message",
    [
        "batch too large",
        "maximum batch size is 10",
        "Batch size exceeds the limit",
        "batch limit 3",
    ],
)
def test_a_batch_that_is_too_large_is_recognised(message: str) -> None:
    assert isinstance(fault_of(NodeError(-32600, message), ""), BatchTooLarge)


def test_an_endpoint_that_wants_a_key_is_left_to_another() -> None:
    fault = fault_of(NodeError(-32000, "Invalid API key"), "eth_call")

    assert isinstance(fault, Denied)
    assert not may_work_again(fault)


@pytest.mark.parametrize(
    ("status", "method", "kind"),
    [
        (429, "eth_call", Retry),
        (500, "eth_call", Retry),
        (502, "", Retry),
        (503, "eth_getLogs", Retry),
        (504, "eth_getLogs", Retry),
        (401, "eth_call", Denied),
        (403, "", Denied),
        (404, "eth_call", Denied),
        (413, "", BatchTooLarge),
        (413, "eth_getLogs", RangeTooWide),
        (413, "eth_call", TooHeavy),
    ],
)
def test_a_bare_http_status_has_its_meaning(
    status: int, method: str, kind: type[ChimeraError]
) -> None:
    assert type(fault_of_status(status, method)) is kind


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("https://base-mainnet.g.example.com/v2/S3cretKey123", "base-mainnet.g.example.com"),
        ("wss://user:passw0rd!@node.example:8546/ws?apikey=0123456789", "node.example:8546"),
        ("http://127.0.0.1:8545", "127.0.0.1:8545"),
        ("nonsense", "unknown"),
    ],
)
def test_an_endpoint_is_named_by_its_host_alone(url: str, label: str) -> None:
    assert Endpoint(url).label == label


def test_keys_are_struck_out_of_what_a_node_says() -> None:
    endpoint = Endpoint("wss://user:passw0rd!@node.example/v2/S3cretKey123?apikey=0123456789")

    told = endpoint.redact("S3cretKey123 is wrong, so is 0123456789 of user passw0rd! on /v2")

    assert told == "*** is wrong, so is *** of user *** on /v2"


@pytest.mark.parametrize(
    ("status", "header", "pause"),
    [
        (429, "7", 7.0),
        (503, " 3 ", 3.0),
        (429, "0", 0.0),
        (429, "999999", LONGEST_ASKED_PAUSE),
        (429, "Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        (429, "Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_ASKED_PAUSE),
        (429, None, None),
        (429, "soon", None),
        (429, "-5", None),
        (429, "", None),
        (200, "7", None),
        (500, "7", None),
    ],
)
def test_how_long_an_endpoint_asks_to_be_left_alone(
    status: int, header: str | None, pause: float | None
) -> None:
    assert pause_asked_for(status, header) == pause
