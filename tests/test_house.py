"""The rules of the house that no linter knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from chimera.settings.layers import OTHERS, variable_names

ROOT = Path(__file__).resolve().parent.parent
SOURCE_FOLDERS = ("chimera", "devnet", "benchmarks", "tests")
LONGEST = 400  # lines; a file past that is two rooms
INTEGERS_ONLY = ("domain", "protocols", "detection", "liquidation")
CATCH_ALL = re.compile(r"chimera/(service\.py|cli\.py|cli/\w+\.py)")
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "data", "info", "misc"}
NOT_OURS = {
    *(".git", ".venv", "node_modules", "build", "dist"),
    *(".hypothesis", ".coverage", ".env"),
}
TEXT = {
    *("", ".cfg", ".css", ".example", ".html", ".ini", ".js", ".json", ".lock", ".md", ".py"),
    *(".service", ".sh", ".sol", ".sql", ".toml", ".txt", ".yaml", ".yml"),
}
HOSTS = [
    *("pypi" + ".org", "python" + "hosted.org", "npmjs" + ".org", "npmjs" + ".com"),
    *("yarnpkg" + ".com", "debian" + ".org", "golang" + ".org", "crates" + ".io"),
]
REGISTRY = re.compile("|".join(re.escape(host) for host in HOSTS))
SOMEBODYS_FOLDER = re.compile(r"(?<![\w.$}])/(?:work|root|home/\w+)/")


def sources(*suffixes: str) -> list[Path]:
    """Return our source files, generated ones left out."""
    found = [
        path
        for folder in SOURCE_FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (suffixes or (".py", ".js", ".sol", ".css", ".html"))
    ]
    assert len(found) > 10
    return [path for path in found if not NOT_OURS & set(path.parts)]


def texts() -> Iterator[Path]:
    """Yield every text file of the project, however deep."""
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT)
        generated = any(part in NOT_OURS or "cache" in part for part in inside.parts)
        if path.is_file() and path.suffix in TEXT and not generated:
            yield path


def nodes(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text()))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def test_no_source_file_is_longer_than_a_room() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources()}

    assert [str(path) for path, lines in lengths.items() if lines > LONGEST] == []


def test_no_float_decides_about_money() -> None:
    found = [
        place(path, node)
        for room in INTEGERS_ONLY
        for path in (ROOT / "chimera" / room).rglob("*.py")
        if path.name != "screen.py"
        for node in nodes(path)
        if makes_a_float(node)
    ]

    assert found == []


def makes_a_float(node: ast.AST) -> bool:
    """Tell whether `node` names a float, is one, or divides into one."""
    match node:
        case ast.Name(id="float") | ast.Constant(value=float()):
            return True
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            return True
        case _:
            return False


def test_the_search_for_floats_finds_them() -> None:
    for text in ("x: float", "1.5", "float(1)", "a / b", "a /= b", "def f(x: list[float]): ..."):
        assert any(makes_a_float(node) for node in ast.walk(ast.parse(text))), text
    assert not any(makes_a_float(node) for node in ast.walk(ast.parse("a // b + 1")))


def test_only_the_outermost_walls_catch_everything() -> None:
    found = [
        place(path, node)
        for path in sources(".py")
        if not CATCH_ALL.fullmatch(str(path.relative_to(ROOT)))
        for node in nodes(path)
        if isinstance(node, ast.ExceptHandler)
        and catches_everything(node.type)
        and not passes_on(node)
    ]

    assert found == []


def catches_everything(caught: ast.expr | None) -> bool:
    """Tell whether a handler takes whatever comes."""
    if isinstance(caught, ast.Tuple):
        return any(catches_everything(one) for one in caught.elts)
    return caught is None or (
        isinstance(caught, ast.Name) and caught.id in {"Exception", "BaseException"}
    )


def passes_on(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler only tidies up before it raises the same error again."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    ways_out = {"skip", "skipif", "xfail", "importorskip", "SkipTest", "skipUnless", "skipIf"}
    found = [
        place(path, node)
        for path in sources(".py")
        if "tests" in path.relative_to(ROOT).parts
        for node in nodes(path)
        if (isinstance(node, ast.Attribute) and node.attr in ways_out)
        or (isinstance(node, ast.alias) and node.name in ways_out)
    ]

    assert found == []


def test_every_module_is_named_for_what_it_is() -> None:
    named = {part for path in sources() for part in (path.stem, path.parent.name)}

    assert named & EMPTY_NAMES == set()


def test_no_file_names_a_package_registry_or_somebodys_folder() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in texts()
        for pattern in (REGISTRY, SOMEBODYS_FOLDER)
        if (match := pattern.search(path.read_text()))
    ]

    assert found == []


def test_every_variable_is_in_the_example_and_none_else() -> None:
    lines = (ROOT / ".env.example").read_text()
    documented = re.findall(r"^#? ?(CHIMERA_\w+)=", lines, re.MULTILINE)

    assert sorted(documented) == sorted({*variable_names(), *OTHERS} - {"CHIMERA_FORK_URL"})


def test_every_key_is_explained_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    keys = [name.removeprefix("CHIMERA_").lower().replace("__", ".") for name in variable_names()]

    assert [key for key in keys if f"`{key}`" not in readme] == []
