"""Settings: every mistake is refused in one line that says where and what was expected."""

import re
from pathlib import Path

import pytest

from chimera.errors import Refuse
from chimera.settings import Settings, load
from tests.settings_files import BASE, refusal, replaced, with_section


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


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("id = 8453", 'id = "8453"', "chain.id: expected a whole number, found '8453'"),
        ("id = 8453", "id = true", "chain.id: expected a whole number, found true"),
        ("id = 8453", "id = 0", "chain.id: expected more than 0, found 0"),
        ("id = 8453\n", "", "chain.id: expected a value (it has no default), found nothing"),
        ('name = "base"', "name = 7", "chain.name: expected text in quotes, found 7"),
        ('name = "base"', "nam = 7", "chain.nam: not a setting; did you mean name?"),
        ('name = "base"', 'name = "base"\nblock_tme = 2', "chain.block_tme: not a setting; did"),
        ('name = "base"', 'name = "base"\nblock_time = inf', "chain.block_time: expected a finite"),
        ('["ws://127.0.0.1:8545"]', "[]", "rpc.ws: expected at least one entry"),
        ('["ws://127.0.0.1:8545"]', '"ws://localhost"', "rpc.ws: expected a list"),
        ('["ws:', '["wss://ok", "http:', "rpc.ws[1]: expected a URL that begins with ws://"),
        ('["http://127.0.0.1:8545"]', '["http://:8545"]', "rpc.http[0]: expected a URL"),
        ('["http://127.0.0.1:8545"]', '["http://a:99999"]', "rpc.http[0]: expected a URL"),
        ("ad64D", "ad64d", "protocols[0].address: expected an address whose mixed case is its"),
        ("ad64D", "ad64", "protocols[0].address: expected an address: 0x and 40 hex digits"),
        ('"aave_v3"', '"aave"', "protocols[0].kind: expected one of aave_v3, "),
        ("2357134", "-1", "protocols[0].from_block: expected 0 or more, found -1"),
        (
            "from_block = 2357134",
            "",
            "protocols[0].from_block: expected a value",
        ),
        (
            "from_block",
            "fromblock",
            "protocols[0].fromblock: not a setting; did you mean from_block?",
        ),
        ('"aave_v3"', '"aave_v3"\nmarket = 1', "protocols[0].market: not a setting; did you mean"),
        ('"aave_v3"', f'"aave_v3"\nmarkets = ["0x{"a" * 64}"]', "only with kind morpho_blue"),
        ('"aave_v3"', '"morpho_blue"\nmarkets = ["0x1"]', "protocols[0].markets[0]: expected a ma"),
        ('name = "aave"', 'name = "Aave"', "protocols[0].name: expected 1 to 32 of the characters"),
        ('name = "aave"', f'name = "{"a" * 33}"', "protocols[0].name: expected 1 to 32"),
        ('name = "aave"', 'name = "aave\\n"', "protocols[0].name: expected 1 to 32"),
        ("[[protocols]]", "[protocols]", "protocols: expected a list, found a table"),
        (BASE[BASE.index("[[") :], "", "protocols: expected a value"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(
    file: Path, old: str, new: str, complaint: str
) -> None:
    message = refusal(replaced(file, old, new))

    assert message.startswith(f"{file}: ")
    assert complaint in message


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ("[redis]\nttl = 9", "redis.ttl: expected 10 or more, found 9"),
        ("[redis]\nttl = 3601", "redis.ttl: expected 3600 or less, found 3601"),
        ("[redis]\nttl = 60.5", "redis.ttl: expected a whole number, found 60.5"),
        ('[redis]\nurl = "localhost:6379"', "redis.url: expected a URL that begins with redis://"),
        ('[history]\nurl = "mysql://a/b"', "history.url: expected a URL that begins with sqlite"),
        ("[detection]\nconfirmation_blocks = 1", "expected 2 or more, found 1"),
        ("[detection]\nwatch_below = 1.1", "detection.watch_below: expected text in quotes"),
        ('[detection]\nwatch_below = "0.9"', "expected a decimal of 1 or more in quotes"),
        ('[detection]\nwatch_below = "1.1٣"', "expected a decimal of 1 or more in quotes"),
        ("[reconcile]\nenabled = 1", "reconcile.enabled: expected true or false, found 1"),
        ("[reconcile]\nwithin = 9", "reconcile.within: expected 10 or more, found 9"),
        ("[reconcile]\nwithin = 86401", "reconcile.within: expected 86400 or less, found 86401"),
        ("[reconcile]\nwithin = 60.0", "reconcile.within: expected a whole number, found 60.0"),
        ("[reconcile]\ncalls = 501", "reconcile.calls: expected 500 or less, found 501"),
        ("[reconcile]\ncalls = 0", "reconcile.calls: expected 10 or more, found 0"),
        ('[http]\nlisten = "9650"', 'http.listen: expected "host:port"'),
        ('[http]\nlisten = "localhost:65536"', 'http.listen: expected "host:port"'),
        ('[http]\nlisten = "::1:80"', 'http.listen: expected "host:port"'),
        ('[log]\nlevel = "loud"', "log.level: expected 'debug', 'info', 'warning' or 'error'"),
        ("[redes]\nttl = 60", "redes: not a setting; did you mean redis?"),
        ("redis = 7", "redis: expected a table of keys, found 7"),
        ('"a\\nb" = 1', r"'a\nb': not a setting"),
        ("redis = 1979-05-27", "redis: expected a table of keys, found 1979-05-27"),
        ("[xyz]", "xyz: not a setting; expected one of chain, rpc, redis"),
    ],
)
def test_a_mistake_in_an_optional_section_is_named(
    file: Path, section: str, complaint: str
) -> None:
    message = refusal(with_section(file, section))

    assert message.startswith(f"{file}: ")
    assert complaint in message


def test_two_protocols_of_one_name_are_refused(file: Path) -> None:
    file.write_text(BASE + BASE[BASE.index("[[") :])

    assert 'names that differ; "aave" stands there more than once' in refusal(file)


def test_a_kind_that_is_not_built_is_refused(file: Path) -> None:
    replaced(file, "aave_v3", "compound_v2")

    with pytest.raises(Refuse, match=r"expected one of aave_v3, found 'compound_v2'$"):
        load(file, kinds=["aave_v3"])


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("CHIMERA_REDIS__TTL", "soon", "redis.ttl: expected a whole number, found 'soon'"),
        ("CHIMERA_RECONCILE__ENABLED", "maybe", "reconcile.enabled: expected true or false"),
        ("CHIMERA_RPC__WS", "", "rpc.ws: expected at least one entry"),
        ("CHIMERA_RPC__HTTP", "ftp://a", "rpc.http[0]: expected a URL that begins with http://"),
        ("CHIMERA_REDIS__TLL", "60", "not a setting; did you mean CHIMERA_REDIS__TTL?"),
        ("CHIMERA_XYZ", "1", "not a setting; expected CHIMERA_<SECTION>__<KEY>"),
        ("CHIMERA_PROTOCOLS", "[]", "protocols are listed in the configuration file"),
    ],
)
def test_a_mistake_in_the_environment_is_named_with_the_variable(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)

    message = refusal(file)

    assert message.startswith(f"environment: {name}: ")
    assert complaint in message


def test_a_mistake_in_dotenv_is_named_with_its_file(file: Path) -> None:
    Path(".env").write_text("CHIMERA_REDIS__TTL=1\n")

    assert refusal(file) == ".env: CHIMERA_REDIS__TTL: redis.ttl: expected 10 or more, found 1"


def test_the_test_suites_own_variable_is_no_setting(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIMERA_FORK_URL", "http://127.0.0.1:8545")

    assert load(file).chain.id == 8453


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHIMERA_RPC__HTTP", "https//mainnet.example/v3/hunter2"),
        ("CHIMERA_RPC__HTTP", "hunter2"),
        ("CHIMERA_RPC__WS", "https://hunter2.example/"),
        ("CHIMERA_REDIS__URL", "http://:hunter2@host:6379"),
        ("CHIMERA_REDIS__URL", "redis://u:p/hunter2@host:port"),
        ("CHIMERA_HISTORY__URL", "postgres://chimera:hunter2@db/chimera"),
        ("CHIMERA_CHAIN__NAME", "https://mainnet.example/v3/hunter2"),
        ("CHIMERA_HUNTER", "hunter2"),
    ],
)
def test_no_complaint_repeats_a_secret(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    message = refusal(file)

    assert name in message
    assert "hunter2" not in message


def test_broken_toml_is_named_with_its_line(file: Path) -> None:
    message = refusal(replaced(file, "id = 8453", "id 8453"))

    assert re.match(rf"{re.escape(str(file))}: not valid TOML: .*line 2", message)


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000])
def test_toml_that_no_parser_takes_is_refused(file: Path, value: str) -> None:
    assert "not valid TOML" in refusal(replaced(file, "id = 8453", f"id = {value}"))


def test_a_line_of_dotenv_that_assigns_nothing_is_named(file: Path) -> None:
    Path(".env").write_text("CHIMERA_LOG__LEVEL=debug\nCHIMERA_RPC__HTTP https://oops\n")

    assert refusal(file) == ".env: line 2: expected NAME=value"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "no-such.toml: there is no such file" in refusal(tmp_path / "no-such.toml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path)


def test_bytes_that_are_no_text_are_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")

    assert "expected text in UTF-8" in refusal(file)


def test_settings_made_by_hand_read_nothing_else(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP", "{}")
    parts = load(file).model_dump()

    assert Settings(**parts).model_dump() == parts
