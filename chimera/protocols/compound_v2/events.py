"""The logs that move a mirror of a comptroller: topics as the chain has them, words by place."""

from __future__ import annotations

from chimera.domain import abi
from chimera.domain.block import Log

# mTokens
ACCRUE_INTEREST = bytes.fromhex("4dec04e750ca11537cabcd8a9eab06494de08da3735bc8871cd41250e190bc04")
OLD_ACCRUE_INTEREST = bytes.fromhex(
    "875352fb3fadeb8c0be7cbbe8ff761b308fa7033470cd0287f02f3436fd76cb9"
)
MINT = bytes.fromhex("4c209b5fc8ad50758f13e2e1088ba56a560dff690a1c6fef26394f4c03821c4f")
REDEEM = bytes.fromhex("e5b754fb1abb7f01b499791d0b820ae3b6af3424ac1c59768edb53f4ec31a929")
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
BORROW = bytes.fromhex("13ed6866d4e1ee6da46f845c46d7e54120883d75c5ea9a2dacc1c4ca8984ab80")
REPAY_BORROW = bytes.fromhex("1a2a22cb034d26d1854bdc6666a5b91fe25efbbb5dcad3b0355478d6f5c362a1")
LIQUIDATE_BORROW = bytes.fromhex("298637f684da70674f26509b10f07ec2fbc77a335ab1e7d6215a4b2484d8bb52")
RESERVES_ADDED = bytes.fromhex("a91e67c5ea634cd43a12c5a482724b03de01e85ca68702a53d0c2f45cb7c1dc5")
RESERVES_REDUCED = bytes.fromhex("3bad0c59cf2f06e7314077049f48a93578cd16f5ef92329f1dab1420a99c177e")
NEW_RESERVE_FACTOR = bytes.fromhex(
    "aaa68312e2ea9d50e16af5068410ab56e1a1fd06037b1a35664812c30f821460"
)
NEW_PROTOCOL_SEIZE_SHARE = bytes.fromhex(
    "f5815f353a60e815cce7553e4f60c533a59d26b1b5504ea4b6db8d60da3e4da2"
)
NEW_MARKET_INTEREST_RATE_MODEL = bytes.fromhex(
    "edffc32e068c7c95dfd4bdfd5c4d939a084d6b11c4199eac8436ed234d72f926"
)
NEW_COMPTROLLER = bytes.fromhex("7ac369dbd14fa5ea3f473ed67cc9d598964a77501540ba6751eb0b3decf5870d")

# mTokens of Venus. The last word is the new balance of the user, though the ABI says totalSupply
MINT_WITH_BALANCE = bytes.fromhex(
    "b4c03061fb5b7fed76389d5af8f2e0ddb09f8c70d1333abbb62582835e10accb"
)
OLD_MINT_BEHALF = bytes.fromhex("297989b84a5f5b82d2ee0c266504c19bd9b10b410f187dc72ca4b0f0faecb345")
MINT_BEHALF = bytes.fromhex("a24ddbdf0865ba440d364725c062eac72a908faeedffc33fe64d4640c82e3ab8")
REDEEM_WITH_BALANCE = bytes.fromhex(
    "bd5034ffbd47e4e72a94baa2cdb74c6fad73cb3bcdc13036b72ec8306f5a7646"
)

# Comptroller
MARKET_LISTED = bytes.fromhex("cf583bb0c569eb967f806b11601c4cb93c10310485c67add5f8362c2f212321f")
MARKET_ENTERED = bytes.fromhex("3ab23ab0d51cccc0c3085aec51f99228625aa1a922b3a8ca89a26b0f2027a1a5")
MARKET_EXITED = bytes.fromhex("e699a64c18b07ac5b7301aa273f36a2287239eb9501d81950672794afba29a0d")
NEW_COLLATERAL_FACTOR = bytes.fromhex(
    "70483e6592cd5182d45ac970e05bc62cdcc90e9d8ef2c2dbe686cf383bcd7fc5"
)
NEW_CLOSE_FACTOR = bytes.fromhex("3b9670cf975d26958e754b57098eaa2ac914d8d2a31b83257997b9f346110fd9")
NEW_LIQUIDATION_INCENTIVE = bytes.fromhex(
    "aeba5a6c40a8ac138134bff1aaa65debf25971188a58804bad717f82f0ec1316"
)
NEW_PRICE_ORACLE = bytes.fromhex("d52b2b9b7e9ee655fcb95d2e5b9e0c9f69e7ef2b8e9d2d0ea78402d576d22e22")
ACTION_PAUSED = bytes.fromhex("ef159d9a32b2472e32b098f954f3ce62d232939f1c207070b584df1814de2de0")
MARKET_ACTION_PAUSED = bytes.fromhex(
    "71aec636243f9709bb0007ae15e9afb8150ab01716d75fd7573be5cc096e03b0"
)

# Comptroller of Venus
NEW_LIQUIDATION_THRESHOLD = bytes.fromhex(
    "c90f7b48c299a8d58b0b9e2756e27773c6fb1daab159af052d6c5b791bc7eef7"
)
NEW_MARKET_LIQUIDATION_INCENTIVE = bytes.fromhex(
    "c1d7bc090f3a87255c2f4e56f66d1b7a49683d279f77921b1701aa5d733ef745"
)
ACTION_PAUSED_MARKET = bytes.fromhex(
    "35007a986bcd36d2f73fc7f1b73762e12eadb4406dd163194950fd3b5a6a827d"
)
ACTION_PROTOCOL_PAUSED = bytes.fromhex(
    "d7500633dd3ddd74daa7af62f8c8404c7fe4a81da179998db851696bed004b38"
)
FORCED_LIQUIDATION_UPDATED = bytes.fromhex(
    "03561d5280ebb02280893b1d60978e4a27e7654a149c5d0e7c2cf65389ce1694"
)
MARKET_UNLISTED = bytes.fromhex("302feb03efd5741df80efe7f97f5d93d74d46a542a3d312d0faae64fa1f3e0e9")
POOL_CREATED = bytes.fromhex("c419386a8582a5374f4db03fdbb9fd99c73ef32d6ce9fc3a8c249e97bf31f9af")
POOL_MARKET_INITIALIZED = bytes.fromhex(
    "2159e9508e372ac69e1047a124c5478445206066e5d7df7e4214a1986cd78c80"
)
POOL_MARKET_REMOVED = bytes.fromhex(
    "c8bef274db6d8c804aba68a69e64268bcfe7dd0aead2efcec0cac73a2df56e12"
)
POOL_ACTIVE_STATUS_UPDATED = bytes.fromhex(
    "75e42fceb039532886a9d75717e843bfef67fd7f6f91f0fc5b1d48e9ce8a1ba9"
)
POOL_FALLBACK_STATUS_UPDATED = bytes.fromhex(
    "9d2a9183b06e3492f91d3d88ae222e700c8873dd0068f9c3fc783eccb96a1ec4"
)
POOL_SELECTED = bytes.fromhex("9181876220501cdac3aa7278fd34e9bd150c30a27b6ed95458fe859761b071f7")
NEW_VAI_CONTROLLER = bytes.fromhex(
    "e1ddcb2dab8e5b03cfc8c67a0d5861d91d16f7bd2612fd381faf4541d212c9b2"
)
DIAMOND_CUT = bytes.fromhex("2e97860c6f47eab0292d51fa3ceec7e373c62af1e7eb2a28ae82998b80de6cfd")

# Comptroller and mTokens alike, and rate models
NEW_IMPLEMENTATION = bytes.fromhex(
    "d604de94d45953f9138079ec1b82d533cb2160c906d1076d1f7ed54befbca97a"
)
NEW_INTEREST_PARAMS = bytes.fromhex(
    "6960ab234c7ef4b0c9197100f5393cfcde7c453ac910a27bd2000aa1dd4c068d"
)

SEIZE_ACTION = b"Seize"


def arguments(log: Log) -> bytes:
    """
    Return all arguments as words: the indexed ones, then the data.

    Forks index arguments that Compound does not, yet of the same log never one behind another that
    they do not.
    """
    return b"".join(log.topics[1:]) + log.data


def paused(words: bytes) -> tuple[bytes, bool]:
    """Return action and state of `ActionPaused(string,bool)`."""
    start, is_on = abi.uint_at(words, 0), bool(abi.uint_at(words, 1))
    length = int.from_bytes(words[start : start + abi.WORD], "big")
    return words[start + abi.WORD : start + abi.WORD + length], is_on
