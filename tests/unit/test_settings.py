"""Settings: what an operator writes, and what is said about mistakes."""

from pathlib import Path

import pytest

from chimera.settings import load, shipped_config
from tests.settings_files import ADDRESS, BASE, replaced, with_section


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for name in ("CHIMERA_CONFIG", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "chimera.toml"
    path.write_text(BASE)
    return path


def test_what_the_file_leaves_out_has_a_default(file: Path) -> None:
    settings = load(file)

    assert settings.chain.block_time == 2.0
    assert settings.rpc.max_log_range == 2000
    assert settings.rpc.max_backfill_blocks == 5000
    assert settings.redis.url == "redis://127.0.0.1:6379/0"
    assert settings.redis.ttl == 60
    assert settings.detection.confirmation_blocks == 2
    assert settings.reconcile.enabled
    assert (settings.reconcile.within, settings.reconcile.calls) == (600, 500)
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 9650)
    assert settings.log.level == "info"


def test_nothing_can_be_changed_afterwards(file: Path) -> None:
    settings = load(file)

    with pytest.raises(ValueError, match="frozen"):
        settings.chain.id = 1


@pytest.mark.parametrize("name", ["base.toml", "devnet.toml"])
def test_every_shipped_file_loads(name: str) -> None:
    assert load(shipped_config() / name).protocols


def test_without_a_file_the_shipped_one_for_base_is_taken() -> None:
    assert load().chain.id == 8453


def test_the_environment_names_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(BASE.replace("8453", "10"))
    monkeypatch.setenv("CHIMERA_CONFIG", str(file))

    assert load().chain.id == 10


def test_dotenv_names_the_file(file: Path) -> None:
    file.write_text(BASE.replace("8453", "10"))
    Path(".env").write_text(f"CHIMERA_CONFIG={file}\n")

    assert load().chain.id == 10


def test_a_path_given_by_hand_wins_over_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIMERA_CONFIG", "/nonexistent.toml")

    assert load(file).chain.id == 8453


def test_the_environment_overrides_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CHIMERA_CHAIN__ID": "10",
        "CHIMERA_CHAIN__BLOCK_TIME": "0.25",
        "CHIMERA_RPC__WS": "wss://a.example/key, wss://b.example",
        "CHIMERA_REDIS__URL": "",
        "CHIMERA_RECONCILE__ENABLED": "false",
        "CHIMERA_HTTP__LISTEN": "[::1]:0",
    }.items():
        monkeypatch.setenv(name, value)

    settings = load(file)

    assert settings.chain.id == 10
    assert settings.chain.name == "base"
    assert settings.chain.block_time == 0.25
    assert settings.rpc.ws == ("wss://a.example/key", "wss://b.example")
    assert settings.rpc.http == ("http://127.0.0.1:8545",)
    assert settings.redis.url == ""
    assert not settings.reconcile.enabled
    assert (settings.http.host, settings.http.port) == ("::1", 0)


def test_dotenv_stands_between_file_and_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".env").write_text("CHIMERA_REDIS__TTL=30\nCHIMERA_LOG__LEVEL='debug'\nEDITOR=vi\n")
    monkeypatch.setenv("CHIMERA_REDIS__TTL", "20")

    settings = load(with_section(file, "[redis]\nttl = 40"))

    assert settings.redis.ttl == 20
    assert settings.log.level == "debug"


def test_a_password_in_dotenv_is_taken_as_it_stands(file: Path) -> None:
    Path(".env").write_text("CHIMERA_REDIS__URL=redis://:a${HOME}b@localhost:6379/0\n")

    assert load(file).redis.url == "redis://:a${HOME}b@localhost:6379/0"


def test_a_systemd_credential_overrides_dotenv(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path(".env").write_text("CHIMERA_REDIS__TTL=30\n")
    (tmp_path / "chimera.env").write_text("CHIMERA_REDIS__TTL=20\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert load(file).redis.ttl == 20


def test_a_sqlite_file_is_relative_to_the_configuration(file: Path) -> None:
    settings = load(with_section(file, '[history]\nurl = "sqlite+aiosqlite:///a/b.db?timeout=5"'))

    assert settings.history.url == f"sqlite+aiosqlite:///{file.parent}/a/b.db?timeout=5"


def test_the_default_sqlite_file_lies_next_to_the_configuration(file: Path) -> None:
    assert load(file).history.url == f"sqlite+aiosqlite:///{file.parent}/chimera.db"


def test_a_sqlite_file_of_the_environment_is_relative_to_the_working_directory(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIMERA_HISTORY__URL", "sqlite+aiosqlite:///my.db")

    assert load(file).history.url == f"sqlite+aiosqlite:///{Path.cwd()}/my.db"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite:////var/lib/chimera.db",
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite://",
        "postgresql+asyncpg://chimera:secret@db:5432/chimera",
    ],
)
def test_other_databases_stay_as_they_are(
    file: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("CHIMERA_HISTORY__URL", url)

    assert load(file).history.url == url


@pytest.mark.parametrize("written", [ADDRESS, ADDRESS.lower(), "0x" + ADDRESS[2:].upper()])
def test_an_address_is_kept_as_checksum_and_as_bytes(file: Path, written: str) -> None:
    protocol = load(replaced(file, ADDRESS, written)).protocols[0]

    assert protocol.address == ADDRESS
    assert protocol.address_bytes == bytes.fromhex(ADDRESS[2:])


def test_markets_are_kept_as_bytes(file: Path) -> None:
    market = "0x" + "ab" * 32
    replaced(file, '"aave_v3"', f'"morpho_blue"\nmarkets = ["{market}"]')

    assert load(file).protocols[0].market_ids == (b"\xab" * 32,)
