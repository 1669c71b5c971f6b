"""The structure of the code: imports, public interfaces, sizes, documentation, import time."""

import ast
import collections
import importlib
import re
import subprocess
import sys
from pathlib import Path

import networkx
import pytest

import lacy

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "lacy"
FILES = sorted(PACKAGE.rglob("*.py"))
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
HEAVY = ("torch", "spacy", "transformers", "datasets", "numpy", "rich", "yaml")
LOWER = (
    "annotate", "corpus", "remote", "world", "types.py", "config.py", "_convert.py", "run.py",
    "disk.py", "_children.py", "_require.py", "_signals.py", "errors",
)  # fmt: skip
BIN = Path(sys.executable).parent


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


# -------------------------------------------------------------------------------- what loads


@pytest.mark.parametrize(
    "run",
    [
        "import lacy",
        "import lacy; dir(lacy); lacy.__version__",
        "from lacy.cli import main; main(['--help'])",
        "from lacy.cli import main; main(['trian'])",
        "from lacy.cli import main; main(['--version'])",
    ],
)
def test_nothing_heavy_is_loaded(run):
    code = f"import sys\n{run}\nprint('loaded', [m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "data mark",
        "generate",
        "evaluate",
        "data world",
        "data check",
        "chat",
        "why",
        "study",
        "tune",
    ],
)
def test_the_help_of_a_command_loads_no_torch_and_ends_in_an_example(command):
    heavy = ("torch", "spacy", "transformers", "datasets")
    argv = [*command.split(), "--help"]
    code = (
        "import sys\nfrom lacy.cli import main\n"
        f"try:\n    main({argv!r})\nexcept SystemExit:\n    pass\n"
        f"print('loaded', [m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *shown, last = done.stdout.splitlines()
    assert last == "loaded []"
    example = next(n for n, line in enumerate(shown) if line.startswith("Example"))
    assert len(shown) - example < 6
    assert any(line.strip().startswith(f"lacy {command}") for line in shown[example:])


def test_public_names_are_few_and_exist():
    assert len(lacy.__all__) <= 20
    for name in lacy.__all__:
        assert getattr(lacy, name) is not None
    with pytest.raises(AttributeError):
        _ = lacy.nonsense


# ----------------------------------------------------------------------------------- imports


def test_imports_follow_the_contracts():
    done = subprocess.run(
        [BIN / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_between_files():
    """Pairs of files (importing, imported), where names of interfaces stand for their files."""
    files = {module_name(path): path for path in FILES}
    homes = {}
    for stub in PACKAGE.rglob("__init__.pyi"):
        package = module_name(stub.with_suffix(".py"))
        for node in tree(stub).body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    homes[package, alias.name] = f"{package}.{node.module}"
    for name, path in files.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lacy"):
                for alias in node.names:
                    found = node.module
                    while (found, alias.name) in homes:
                        found = homes[found, alias.name]
                    inner = f"{found}.{alias.name}"
                    yield name, inner if inner in files else found


def test_no_files_import_each_other_in_a_circle():
    graph = networkx.DiGraph(pair for pair in imports_between_files() if pair[0] != pair[1])
    circles = [sorted(c) for c in networkx.strongly_connected_components(graph) if len(c) > 1]
    assert not circles


def test_every_public_name_has_one_meaning():
    homes = collections.defaultdict(list)
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                homes[node.name].append(name_of(path))
    repeated = {
        name: where
        for name, where in homes.items()
        if len(where) > 1 and not name.startswith("_")
        and not (name == "run" and all(path.startswith("cli/") for path in where))
    }  # fmt: skip
    assert not repeated


def test_the_lower_layers_import_no_torch_anywhere():
    for path in FILES:
        if not name_of(path).startswith(LOWER):
            continue
        for node in ast.walk(tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong = [n for n in names if n.split(".")[0] in ("torch", "accelerate")]
            assert not wrong, f"{name_of(path)}:{node.lineno} imports {wrong}"


def test_weights_are_never_pickled():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"\bpickle\.loads?\b|\btorch\.load\(|\btorch\.save\(", text)
        assert not found, f"{name_of(path)}: {found}"


# ------------------------------------------------------------------ public names and sizes


@pytest.mark.parametrize("package", [package for package in PACKAGES if package != "cli"])
def test_every_public_name_can_be_imported(package):
    interface = importlib.import_module(f"lacy.{package}")
    assert interface.__doc__
    assert interface.__all__
    for name in interface.__all__:
        assert getattr(interface, name) is not None


def test_no_file_exceeds_400_lines():
    long = {
        name_of(path): lines
        for path in FILES
        if (lines := path.read_text(encoding="utf-8").count("\n")) > 400
    }
    assert not long


# ----------------------------------------------------------------------------- documentation


def public_definitions(path):
    """Public functions, classes and methods of a file."""
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.startswith("_"):
                continue
            yield node.name, node
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                function = isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
                if function and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_names_are_documented_and_annotated(path):
    assert ast.get_docstring(tree(path)), "the module has no docstring"
    wrong = []
    for name, node in public_definitions(path):
        if not ast.get_docstring(node):
            wrong.append(f"{name} (line {node.lineno}) has no docstring")
        if isinstance(node, ast.ClassDef):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if bare or node.returns is None:
            wrong.append(f"{name} (line {node.lineno}) lacks annotations {bare}")
    assert not wrong, "\n".join(wrong)


def test_every_package_is_in_the_docstring_of_lacy():
    listed = lacy.__doc__
    for package in PACKAGES:
        assert f"    {package}/ " in listed, f"{package} is not in the docstring of lacy"
    for name in re.findall(r"^    (\w+)/ ", listed, re.MULTILINE):
        assert name in PACKAGES, f"the docstring of lacy lists {name}/, which does not exist"
    for name in re.findall(r"^    (\w+\.py) ", listed, re.MULTILINE):
        assert (PACKAGE / name).is_file()


def test_generated_parts_are_current():
    command = [sys.executable, ROOT / "scripts" / "generate_docs.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# --------------------------------------------------------------------------------- the files


def tracked():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_file_names_a_place_on_one_machine():
    place = re.compile(r"(?<![\w.$}{~-])/(?:work|home|root|Users|opt|mnt)/\w+")
    index = re.compile(r"(?:index|extra-index)-url|pypi\.org/simple|://[\w.]+/simple")
    for path in tracked():
        if path.suffix in (".md", ".py", ".toml", ".txt", ".yaml", ".yml", "", ".cfg"):
            text = path.read_text(encoding="utf-8", errors="replace")  # weights have no suffix
            if path != Path(__file__):
                assert not place.findall(text), path
                assert not index.findall(text), path


def test_the_dependencies_are_compatible_with_flower():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {re.split(r"[<>=!\[ ]", line)[0]: line for line in project["dependencies"]}
    assert "<15" in core["rich"]
    assert not {"typer", "protobuf", "spacy"} & set(core)


def test_constraints_name_every_dependency_exactly():
    import tomllib

    def pins(file):
        lines = [x for x in (ROOT / file).read_text().splitlines() if not x.startswith("#")]
        return {x.split("==")[0].lower().replace("_", "-"): x for x in lines}

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    flower, usual = pins("constraints-federate.txt"), pins("constraints.txt")
    others = [line for extra, lines in extras.items() if extra != "federate" for line in lines]
    for file, found, wanted in (
        ("constraints-federate.txt", flower, [*project["dependencies"], *extras["federate"]]),
        ("constraints.txt", usual, [*project["dependencies"], *others]),
    ):
        for line in wanted:
            name = re.split(r"[<>=!\[ ]", line)[0].lower()
            assert name == "lacy" or name in found, f"{name} is not in {file}"
    different = {name for name in usual if flower.get(name) != usual[name]}
    assert different == {
        "certifi", "fastapi", "packaging", "protobuf", "starlette", "typer", "uvicorn",
        "virtualenv",
    }  # fmt: skip


@pytest.mark.parametrize("target", ["demo", "check", "test", "lint"])
def test_make_knows_what_to_do(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ".venv" in done.stdout


def test_no_public_name_is_hidden_by_a_file_of_another_name():
    # Importing a file sets an attribute of its package, which would take the place of the name.
    hidden = [
        f"{path.parent.name}.{alias.asname or alias.name}"
        for path in PACKAGE.rglob("__init__.pyi")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (path.parent / f"{alias.asname or alias.name}.py").exists()
        and (alias.asname or alias.name) != node.module
    ]
    assert not hidden
