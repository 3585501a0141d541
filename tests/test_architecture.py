"""The limits of the code base: sizes, layers, cycles, and what may be imported where."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "aha"
FILES = sorted(SOURCE.rglob("*.py"))
EVERYWHERE = [*FILES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
MAX_FILE, MAX_FUNCTION, MAX_DEPTH = 400, 60, 2

# A package may import itself and what stands on a lower level; modules of the package's root are named by file.
LEVELS = [
    {"aha", "types", "py"},
    {"errors", "protocols", "seeds"},
    {"choices", "config", "plugins", "runtime"},
    {"tasks", "rewards", "algorithms", "models"},
    {"evaluation", "engines"},
    {"training"},
    {"distributed"},
    {"pipeline"},
    {"planning", "studio"},
    {"serving"},
    {"commands", "evaluating", "exporting", "chat", "doctor"},
    {"cli"},
    {"__main__"},
]
OPTIONAL = {"ray", "vllm", "flash_attn", "wandb", "datasets", "peft", "fastapi", "uvicorn", "httpx2", "trl", "simpy"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, top_level: bool) -> set[str]:
    """Names that a file imports; `if TYPE_CHECKING:` does not count."""
    body = tree(path)
    nodes = body.body if top_level else list(ast.walk(body))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def level(module: str) -> int:
    part = module.split(".")[1] if "." in module else "aha"
    return next(i for i, names in enumerate(LEVELS) if part in names)


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= MAX_FUNCTION, node.name


@pytest.mark.parametrize("path", [*SOURCE.rglob("*.cpp"), *SOURCE.rglob("*.h")], ids=lambda p: p.name)
def test_sizes_of_kernels(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= MAX_FILE


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward_only(path: Path) -> None:
    own = module_of(path)
    for name in imports(path, top_level=False):
        if name.split(".")[0] == "aha" and name != "aha" and name != "aha.__version__":
            assert level(name) <= level(own), f"{own} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_optional_library_at_module_level(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path, top_level=True)} & OPTIONAL


def test_no_import_cycle() -> None:
    modules = {module_of(path): path for path in FILES}
    edges = {
        name: {n for n in imports(path, top_level=True) if n in modules and n != name} for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, chain: tuple[str, ...]) -> None:
        assert name not in chain, " -> ".join([*chain, name])
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*chain, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())


def test_inheritance_is_shallow() -> None:
    bases: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [b.id for b in node.bases if isinstance(b, ast.Name)]

    def depth(name: str) -> int:
        return 1 + max((depth(b) for b in bases[name] if b in bases), default=0)

    assert {name: d for name in bases if (d := depth(name)) > MAX_DEPTH} == {}


def test_the_loop_knows_no_launcher() -> None:
    names = imports(SOURCE / "training" / "rl.py", top_level=False)
    assert not {n for n in names if n.startswith(("ray", "torch"))}


def test_the_learner_is_blind_to_the_algorithm() -> None:
    for name in ("learner.py", "batch.py"):
        assert not {n for n in imports(SOURCE / "training" / name, top_level=False) if n.startswith("aha.algorithms")}


def test_readers_do_not_live_in_writers() -> None:
    for package in ("training", "pipeline", "engines", "evaluation"):
        for path in (SOURCE / package).rglob("*.py"):
            assert not {n for n in imports(path, top_level=False) if n.startswith("aha.studio")}, path
    for path in (SOURCE / "studio").rglob("*.py"):
        writers = ("aha.training", "aha.engines", "aha.algorithms", "aha.pipeline")
        assert not {n for n in imports(path, top_level=False) if n.startswith(writers)}, path


def test_untrusted_text_reaches_no_interpreter() -> None:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                interprets = path.relative_to(SOURCE).as_posix() == "rewards/sandbox/zygote.py"  # inside the sandbox
                assert node.func.id not in (("eval",) if interprets else ("eval", "exec")), path
        assert not imports(path, top_level=False) & {"pickle", "shelve", "marshal"}, path
