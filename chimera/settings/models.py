"""What a configuration may say: one frozen model per section."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from eth_utils.address import is_checksum_address, to_checksum_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from chimera.domain.block import Address

MORPHO = "morpho_blue"  # the one family whose markets can be chosen
LAST_PORT = 65_535
LAST_CHAIN = 2**63 - 1  # what the history has a column for
UNDO_BLOCKS = 64  # a reorg may take back so many: coming back from one is no outage


def _text(pattern: str, expected: str) -> AfterValidator:
    """Accept text that matches `pattern` as a whole."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(expected)
        return value

    return AfterValidator(check)


def _url(*schemes: str, empty: bool = False) -> Callable[[str], str]:
    """Accept an address with one of `schemes` and a host; the complaint never quotes it."""
    expected = f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"

    def check(value: str) -> str:
        if empty and not value:
            return value
        try:
            parts = urlsplit(value)
            usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none, a bracket left open
            usable = False
        if not usable or any(character.isspace() for character in value):
            raise ValueError(f"{expected} and names a host" + (', or ""' if empty else ""))
        return value

    return check


def _database(value: str) -> str:
    """Accept the two databases that the store knows; a file needs no host."""
    if value.startswith("sqlite+aiosqlite://") and "\0" not in value:
        return value
    return _url("sqlite+aiosqlite", "postgresql+asyncpg")(value)


def _redis(value: str) -> str:
    """Accept a server, a socket in the file system, or nothing."""
    if re.fullmatch(r"unix://\S*/\S+", value):
        return value
    return _url("redis", "rediss", "unix", empty=True)(value)


def _listen(value: str) -> str:
    """Accept host:port, with IPv6 in brackets, or nothing."""
    host, _, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    plain = bool(bare) and not re.search(r"[\s/@\[\]]", bare) and (":" not in host or bare != host)
    if value and not (plain and re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= LAST_PORT):
        raise ValueError('"host:port" with a port of 0 to 65535, or ""')
    return value


def _address(value: str) -> str:
    """Accept 20 bytes in hex; mixed case is a checksum (EIP-55) and has to be right."""
    if re.fullmatch(r"0x[0-9a-fA-F]{40}", value) is None:
        raise ValueError("an address: 0x and 40 hex digits")
    digits = value[2:]
    if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(value):
        raise ValueError("an address whose mixed case is its EIP-55 checksum; a digit is wrong")
    return to_checksum_address(value)


def _address_or_none(value: str) -> str:
    """Accept an address, or nothing."""
    return value and _address(value)


Name = Annotated[str, _text(r"[a-z0-9-]{1,32}", "1 to 32 of the characters a-z, 0-9 and -")]
MarketId = Annotated[str, _text(r"0x[0-9a-fA-F]{64}", "a market id: 0x and 64 hex digits")]
WebSocketUrl = Annotated[str, AfterValidator(_url("ws", "wss"))]
HttpUrl = Annotated[str, AfterValidator(_url("http", "https"))]
Several = Field(strict=False, min_length=1)  # TOML has lists where the models have tuples


class Section(BaseModel):
    """Base of every section: unknown keys and other types than the declared ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class ChainSettings(Section):
    """
    The chain to follow. `block_time` in seconds.

    `sequencer_feed` is a layer 2's sequencer-uptime feed ("" = none), `sequencer_grace` for how
    many seconds after its return the sequencer is not yet called well.
    """

    id: int = Field(gt=0, le=LAST_CHAIN)
    name: Name
    block_time: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    sequencer_feed: Annotated[str, AfterValidator(_address_or_none)] = ""
    sequencer_grace: int = Field(default=3600, ge=0, le=86_400)

    @property
    def sequencer_feed_bytes(self) -> Address | None:
        """Return the feed as the 20 bytes that the rooms use; None where there is none."""
        feed = bytes.fromhex(self.sequencer_feed.removeprefix("0x"))
        return Address(feed) if feed else None


class RpcSettings(Section):
    """
    The nodes, in order of preference.

    `max_log_range` is in blocks per eth_getLogs; `max_backfill_blocks` is how many blocks of an
    outage are read one by one; `quorum` is how many endpoints have to tell the same of a block.
    """

    ws: tuple[WebSocketUrl, ...] = Several
    http: tuple[HttpUrl, ...] = Several
    max_log_range: int = Field(default=2000, ge=1)
    max_backfill_blocks: int = Field(default=5000, ge=UNDO_BLOCKS)
    quorum: int = Field(default=1, ge=1, le=2)


class RedisSettings(Section):
    """Where positions are published ("" = in memory only), and for how many seconds they live."""

    url: Annotated[str, AfterValidator(_redis)] = "redis://127.0.0.1:6379/0"
    ttl: int = Field(default=60, ge=10, le=3600)


class HistorySettings(Section):
    """The durable memory, as an SQLAlchemy URL. A relative file has been made absolute."""

    url: Annotated[str, AfterValidator(_database)] = "sqlite+aiosqlite:///chimera.db"


class DetectionSettings(Section):
    """How long an account must be under 1 to be flagged, and under what it is watched."""

    confirmation_blocks: int = Field(default=2, ge=2)
    watch_below: Annotated[
        str, _text(r"[1-9][0-9]{0,8}(\.[0-9]{1,18})?", "a decimal of 1 or more in quotes")
    ] = "1.10"


class ReconcileSettings(Section):
    """
    Whether the mirror is compared with the chain's own views while it runs.

    `within` is the seconds in which every account is compared, `calls` the most of one sample.
    """

    enabled: bool = True
    within: int = Field(default=600, ge=10, le=86_400)
    calls: int = Field(default=500, ge=10, le=500)


class HttpSettings(Section):
    """Where the HTTP interface listens; "" = nowhere, port 0 = any free one."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:9650"

    @property
    def host(self) -> str:
        """Return the host, without the brackets of IPv6; "" when nothing listens."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Return the port; 0 asks for any free one (and stands where nothing listens)."""
        return int(self.listen.rpartition(":")[2] or 0)


class LogSettings(Section):
    """What is worth a line."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class ProtocolSettings(Section):
    """One instance of a lending protocol: its entry contract and the block to begin with."""

    name: Name
    kind: str
    address: Annotated[str, AfterValidator(_address)]  # EIP-55, however it was written
    from_block: int = Field(ge=0)
    markets: tuple[MarketId, ...] | None = Field(default=None, strict=False, min_length=1)
    suppliers: bool = False  # mirror those without debt, too

    @property
    def address_bytes(self) -> Address:
        """Return the entry contract as the 20 bytes that the rooms use."""
        return Address(bytes.fromhex(self.address[2:]))

    @property
    def market_ids(self) -> tuple[bytes, ...] | None:
        """Return the chosen markets as 32 bytes each; None for every market."""
        if self.markets is None:
            return None
        return tuple(bytes.fromhex(market[2:]) for market in self.markets)


class Settings(BaseSettings):
    """Everything that an operator decides."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True
    )

    layers: ClassVar[Sequence[dict[str, Any]]] = ()  # weaker sources, strongest first

    chain: ChainSettings
    rpc: RpcSettings
    redis: RedisSettings = RedisSettings()
    history: HistorySettings = HistorySettings()
    detection: DetectionSettings = DetectionSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    protocols: tuple[ProtocolSettings, ...] = Several

    @field_validator("protocols")
    @classmethod
    def _distinct(cls, protocols: tuple[ProtocolSettings, ...]) -> tuple[ProtocolSettings, ...]:
        names = [protocol.name for protocol in protocols]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f'names that differ; "{twice}" stands there more than once')
        for protocol in protocols:
            if protocol.markets is not None and protocol.kind != MORPHO:
                raise ValueError(f'"markets" only with kind {MORPHO}, not for "{protocol.name}"')
        return protocols

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what was passed, then `layers`; nothing is read behind the caller's back."""
        del env_settings, dotenv_settings, file_secret_settings
        return (init_settings, *(InitSettingsSource(settings_cls, its) for its in cls.layers))
