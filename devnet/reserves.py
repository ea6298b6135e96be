"""The reserves of the stage: what is listed, at which price, under which limits."""

from __future__ import annotations

from dataclasses import dataclass, replace

EMODE_ETH = 1  # the category of WETH and what wraps it
EMODE_LTV, EMODE_THRESHOLD, EMODE_BONUS = 9300, 9500, 10100
START_RATIO = 1_180_000_000_000_000_000  # WETH per wstETH at deployment
RATIO_GROWTH = 1_180_000_000  # per second, 18 decimals: about 3 % a year


@dataclass(frozen=True, slots=True)
class Reserve:
    """
    One asset to list.

    Prices are in USD with 8 decimals, percentages in basis points, liquidity in whole tokens, the
    debt ceiling in cents. `wraps` names the reserve whose feed the ratio feed multiplies.
    """

    symbol: str
    decimals: int
    price: int
    ltv: int
    threshold: int
    bonus: int
    liquidity: int
    volatile: bool = True
    emode: int = 0
    debt_ceiling: int = 0
    borrowable: bool = True
    borrowable_in_isolation: bool = False
    wraps: str = ""
    dormant: bool = False  # listed, but worth nothing as collateral until it is configured later

    @property
    def unit(self) -> int:
        """One whole token in smallest units."""
        return int(10**self.decimals)


RESERVES = (
    Reserve("WETH", 18, 2_500_00000000, 8000, 8250, 10500, 40_000, emode=EMODE_ETH),
    Reserve(
        "USDC",
        6,
        1_00000000,
        7700,
        8000,
        10450,
        90_000_000,
        volatile=False,
        borrowable_in_isolation=True,
    ),
    Reserve("WBTC", 8, 65_000_00000000, 7300, 7800, 10600, 1_500),
    Reserve(
        "wstETH",
        18,
        2_950_00000000,
        7800,
        8100,
        10600,
        30_000,
        emode=EMODE_ETH,
        wraps="WETH",
    ),
    Reserve(
        "DAI",
        18,
        99_970_000,
        7500,
        7800,
        10500,
        60_000_000,
        volatile=False,
        borrowable_in_isolation=True,
    ),
    Reserve("LINK", 18, 15_12345678, 6500, 7000, 10750, 400_000, debt_ceiling=50_000_000_00),
    Reserve("EURS", 2, 1_08250000, 6500, 7000, 10750, 20_000_000, volatile=False),
    Reserve("cbETH", 18, 2_700_00000000, 6700, 7400, 10750, 2_000, borrowable=False, dormant=True),
)


EMODE_ONLY = Reserve(  # no collateral at all, but to those in its category
    "weETH",
    18,
    2_950_00000000,
    0,
    0,
    0,
    0,
    emode=EMODE_ETH,
    wraps="WETH",
    borrowable=False,
    dormant=True,
)
LEAST_DECIMALS = 6  # that v3.6 lists
LATER_RESERVES = (
    *(replace(one, decimals=max(one.decimals, LEAST_DECIMALS)) for one in RESERVES),
    EMODE_ONLY,
)
LATECOMER = Reserve("AAVE", 18, 180_00000000, 6000, 7000, 10750, 60_000)  # listed in mid-life


def rate_curve(*, volatile: bool) -> tuple[int, ...]:
    """Return the optimal usage, the base rate and both slopes, in basis points."""
    return (4500, 300, 700, 10_000) if volatile else (9000, 400, 600, 6000)
