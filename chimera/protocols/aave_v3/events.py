"""The logs that move a mirror of a pool: topics as the chain has them, words by place."""

from __future__ import annotations

from chimera.domain import abi
from chimera.domain.block import Address, Log
from chimera.domain.numeric import MAX_UINT256, Bps
from chimera.protocols.aave_v3.market import Mode
from chimera.protocols.aave_v3.math import Rates

# Pool
RESERVE_DATA_UPDATED = bytes.fromhex(
    "804c9b842b2748a22bb64b345453a3de7ca54a6ca45ce00d415894979e22897a"
)
COLLATERAL_ENABLED = bytes.fromhex(
    "00058a56ea94653cdf4f152d227ace22d4c00ad99e2a43f58cb7d9e3feb295f2"
)
COLLATERAL_DISABLED = bytes.fromhex(
    "44c58d81365b66dd4b1a7f36c25aa97b8c71c361ee4937adc1a00000227db5dd"
)
USER_EMODE_SET = bytes.fromhex("d728da875fc88944cbf17638bcbe4af0eedaef63becd1d1c57cc097eb4608d84")
LIQUIDATION_CALL = bytes.fromhex("e413a321e8681d831f4dbccbca790d2952b56f977908e45be37335533e005286")

# aTokens and vTokens; their Transfer says the same again in rounded units and is not followed
MINT = bytes.fromhex("458f5fa412d0f69b08dd84872b0215675cc67bc1d5b6fd93300a1c3878b86196")
BURN = bytes.fromhex("4cf25bc1d991c17529c25213d3cc0cda295eeaad5f13f361969b12ea48015f90")
BALANCE_TRANSFER = bytes.fromhex("4beccb90f994c31aced7a23b5611020728a23d8ec5cddd1a3e9d97b96fda8666")
ATOKEN_INITIALIZED = bytes.fromhex(
    "b19e051f8af41150ccccb3fc2c2d8d15f4a4cf434f32a559ba75fe73d6eea20b"
)
DEBT_TOKEN_INITIALIZED = bytes.fromhex(
    "40251fbfb6656cfa65a00d7879029fec1fad21d28fdcff2f4f68f52795b74f2c"
)
STABLE_DEBT_MINT = bytes.fromhex("c16f4e4ca34d790de4c656c72fd015c667d688f20be64eea360618545c4c530f")

# PoolConfigurator
RESERVE_INITIALIZED = bytes.fromhex(
    "3a0ca721fc364424566385a1aa271ed508cc2c0949c2272575fb3013a163a45f"
)
RESERVE_DROPPED = bytes.fromhex("eeec4c06f7adad215cbdb4d2960896c83c26aedce02dde76d36fa28588d62da4")
COLLATERAL_CONFIGURATION_CHANGED = bytes.fromhex(
    "637febbda9275aea2e85c0ff690444c8d87eb2e8339bbede9715abcc89cb0995"
)
LIQUIDATION_PROTOCOL_FEE_CHANGED = bytes.fromhex(
    "b5b0a963825337808b6e3154de8e98027595a5cad4219bb3a9bc55b192f4b391"
)
RESERVE_ACTIVE = bytes.fromhex("c36c7d11ba01a5869d52aa4a3781939dab851cbc9ee6e7fdcedc7d58898a3f1e")
RESERVE_PAUSED = bytes.fromhex("e188d542a5f11925d3a3af33703cdd30a43cb3e8066a3cf68b1b57f61a5a94b5")
EMODE_CATEGORY_ADDED = bytes.fromhex(
    "0acf8b4a3cace10779798a89a206a0ae73a71b63acdd3be2801d39c2ef7ab3cb"
)
EMODE_ASSET_CATEGORY_CHANGED = bytes.fromhex(
    "5bb69795b6a2ea222d73a5f8939c23471a1f85a99c7ca43c207f1b71f10c6264"
)
COLLATERAL_IN_EMODE_CHANGED = bytes.fromhex(
    "79409190108b26fcb0e4570f8e240f627bf18fd01a55f751010224d5bd486098"
)
BORROWABLE_IN_EMODE_CHANGED = bytes.fromhex(
    "60087ca045be9d8d1301445e67d6248eddba97629c80284fa4910c0e52f103ab"
)
LTVZERO_IN_EMODE_CHANGED = bytes.fromhex(
    "c0a450fbad635333e47f3322ec028a8e0b3909f79c721312a356a0fab5fa8b94"
)
GRACE_PERIOD_CHANGED = bytes.fromhex(
    "df4f96448786bcd6fecc9f1fa25f1fbbbee6a5c9e76d635a615ac57bb5983d10"
)
GRACE_PERIOD_DISABLED = bytes.fromhex(
    "1df36dc1651d06d990805068d22811a3a9ca4396190787ef59f9102e61868fff"
)
ATOKEN_UPGRADED = bytes.fromhex("a76f65411ec66a7fb6bc467432eb14767900449ae4469fa295e4441fe5e1cb73")
VARIABLE_DEBT_TOKEN_UPGRADED = bytes.fromhex(
    "9439658a562a5c46b1173589df89cf001483d685bad28aedaff4a88656292d81"
)

# PoolAddressesProvider, and the proxies
PRICE_ORACLE_UPDATED = bytes.fromhex(
    "56b5f80d8cac1479698aa7d01605fd6111e90b15fc4d2b377417f46034876cbd"
)
SENTINEL_UPDATED = bytes.fromhex("5326514eeca90494a14bedabcff812a0e683029ee85d1e23824d44fd14cd6ae7")
POOL_UPDATED = bytes.fromhex("90affc163f1a2dfedcd36aa02ed992eeeba8100a4014f0b4cdc20ea265a66627")
ADDRESS_SET = bytes.fromhex("9ef0e8c8e52743bb38b83b17d9429141d494b8041ca6d616a6c77cebae9cd8b7")
UPGRADED = bytes.fromhex("bc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b")

# First topics of ADDRESS_SET, for `setAddress`
PRICE_ORACLE_ID = b"PRICE_ORACLE".ljust(32, b"\0")
SENTINEL_ID = b"PRICE_ORACLE_SENTINEL".ljust(32, b"\0")


def minted(data: bytes) -> tuple[int, int]:
    """Return value - balanceIncrease and the index of a `Mint`; negative for a burn in disguise."""
    words = int.from_bytes(data[:96], "big")  # cut as one number: a block has hundreds of them
    return (words >> 512) - (words >> 256 & MAX_UINT256), words & MAX_UINT256


def burned(data: bytes) -> tuple[int, int]:
    """Return -(value + balanceIncrease) and the index of a `Burn`."""
    words = int.from_bytes(data[:96], "big")
    return -(words >> 512) - (words >> 256 & MAX_UINT256), words & MAX_UINT256


def rates_of(log: Log, timestamp: int) -> Rates:
    """
    Return the index state that `ReserveDataUpdated` announces; it was stored at the block's time.

    Words: liquidityRate, stableBorrowRate, variableBorrowRate, liquidityIndex, variableBorrowIndex.
    """
    words = int.from_bytes(log.data[:160], "big")
    rate, debt_rate = words >> 1024, words >> 512 & MAX_UINT256
    index, debt_index = words >> 256 & MAX_UINT256, words & MAX_UINT256
    # Naming each a Ray would be a call, and take longer than all the rest.
    return Rates(index, debt_index, rate, debt_rate, timestamp)  # type: ignore[arg-type]


def mode_of(log: Log) -> tuple[int, Mode]:
    """Return the category of `EModeCategoryAdded`, also logged for an edit; bitmaps stay as is."""
    threshold, bonus = abi.uint_at(log.data, 1), abi.uint_at(log.data, 2)
    source = abi.address_of(log.data[96:128])
    return int.from_bytes(log.topics[1], "big"), Mode(Bps(threshold), Bps(bonus), source)


def new_tokens(log: Log) -> tuple[Address, Address, Address]:
    """Return aToken, stable debt token and vToken of `ReserveInitialized`."""
    return (
        abi.address_of(log.topics[2]),
        abi.address_of(log.data[:32]),
        abi.address_of(log.data[32:64]),
    )


def decimals_of(log: Log) -> int:
    """Return the decimals in an aToken's `Initialized`: those that the pool keeps for the asset."""
    return abi.uint_at(log.data, 2)


def new_oracle(log: Log) -> Address | None:
    """
    Return the oracle that the provider has from this log on, or None.

    `setPriceOracle` logs PriceOracleUpdated; the generic `setAddress` logs only AddressSet.
    """
    if log.topics[0] == PRICE_ORACLE_UPDATED:
        return abi.address_of(log.topics[2])
    if log.topics[0] == ADDRESS_SET and log.topics[1] == PRICE_ORACLE_ID:
        return abi.address_of(log.topics[3])
    return None


def new_sentinel(log: Log) -> Address | None:
    """Return the price oracle sentinel (or the zero address) from this log on, or None."""
    if log.topics[0] == SENTINEL_UPDATED:
        return abi.address_of(log.topics[2])
    if log.topics[0] == ADDRESS_SET and log.topics[1] == SENTINEL_ID:
        return abi.address_of(log.topics[3])
    return None
