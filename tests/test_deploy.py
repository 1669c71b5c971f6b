"""deploy/: what it starts can be started, as far as can be seen without Docker."""

import re
import shlex
import subprocess
from pathlib import Path

import yaml
from torch.distributed.run import parse_args as parse_torchrun

from helpers.pages import PAGES, blocks
from lacy.cascade import split_policy
from lacy.cli.flags import parse
from lacy.cli.serve import ServeConfig, _check
from lacy.serve.app import OPEN_PATHS
from lacy.train import TrainConfig
from lacy.train.processes import require_rows

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "how-to" / "engine.md").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
VLLM = {
    "--model", "--served-model-name", "--max-logprobs", "--logprobs-mode", "--dtype",
    "--enable-prefix-caching", "--generation-config", "--gpu-memory-utilization",
}  # fmt: skip
"""Flags of ``vllm serve`` that stand in its documentation."""


def test_services_are_as_compose_wants_them():
    assert set(SERVICES) == {"slm", "partner", "lacy"}
    assert set(COMPOSE) == {"services", "secrets", "volumes"}
    known = {
        "image", "command", "volumes", "ipc", "deploy", "healthcheck", "environment", "build",
        "depends_on", "ports", "secrets", "user", "stop_grace_period",
    }  # fmt: skip
    for service in SERVICES.values():
        assert set(service) <= known
        assert ("image" in service) != ("build" in service)
    for name, wanted in SERVICES["lacy"]["depends_on"].items():
        assert wanted == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[name]


def test_flags_of_vllm_are_known_and_explained():
    for name in ("slm", "partner"):
        assert SERVICES[name]["image"].startswith("vllm/vllm-openai:")
        for flag in SERVICES[name]["command"]:
            assert flag.partition("=")[0] in VLLM
    for flag in VLLM:
        assert f"`{flag}`" in PAGE
    text = (DEPLOY / "docker-compose.yml").read_text(encoding="utf-8")
    for variable in set(re.findall(r"\$\{(\w+)", text)) - {"UID", "GID"}:
        assert f"`{variable}`" in PAGE
    shares = [float(m) for m in re.findall(r"--gpu-memory-utilization=([\d.]+)", text)]
    assert sum(shares) < 1


def filled(text):
    """With the defaults of the environment's variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text))


def test_what_lacy_is_told_there_can_be_told_to_lacy():
    lacy = SERVICES["lacy"]
    first, *words = [filled(word) for word in lacy["command"]]
    assert first == "serve"
    config = parse(ServeConfig, words, command="serve")
    _check(config)
    assert config.model == "http://slm:8000/v1#slm"
    assert "--served-model-name=slm" in SERVICES["slm"]["command"]
    assert config.source == ["http://partner:8000/v1#partner"]
    assert "--served-model-name=partner" in SERVICES["partner"]["command"]
    mounts = {volume.split(":")[-2] for volume in lacy["volumes"] if ":ro" in volume}
    assert str(config.tokenizer) in mounts
    assert float(lacy["stop_grace_period"].removesuffix("s")) > config.grace + 10


def test_lacy_is_reached_from_this_computer_with_a_key():
    lacy = SERVICES["lacy"]
    config = parse(ServeConfig, [filled(word) for word in lacy["command"][1:]], command="serve")
    (port,) = lacy["ports"]
    assert filled(port) == f"127.0.0.1:8000:{config.port}" and config.host == "0.0.0.0"
    (secret,) = lacy["secrets"]
    assert str(config.keys) == f"/run/secrets/{secret}" and set(COMPOSE["secrets"]) == {secret}
    for name, service in SERVICES.items():
        assert name == "lacy" or "ports" not in service
    *_, code = lacy["healthcheck"]["test"]
    compile(code, "healthcheck", "exec")
    assert f"http://localhost:{config.port}/health" in code and "/health" in OPEN_PATHS


def test_the_image_copies_what_is_there():
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()


def test_a_policy_travels_behind_the_name_of_a_hosted_model():
    address = "http://127.0.0.1:8000/v1#slm"
    assert split_policy(address) == (address, None)
    assert split_policy(f"{address}:budget=0.22") == (address, "budget=0.22")
    assert split_policy("http://127.0.0.1:8000/v1") == ("http://127.0.0.1:8000/v1", None)
    assert split_policy("mine:threshold=0") == ("mine", "threshold=0")


# ------------------------------------------------------------------- training on several machines


def trained_by(words):
    """What ``torchrun`` reads of a command, and the settings that ``lacy train`` reads."""
    found = parse_torchrun(words)
    assert found.module and found.training_script == "lacy"
    command, *rest = found.training_script_args
    assert command == "train"
    config = parse(TrainConfig, rest, command="train")
    assert config.problems() == []
    return found, config


def torchrun_lines(text):
    joined = text.replace("\\\n", " ")
    return re.findall(r"^(?:srun )?torchrun (.*)$", joined, re.MULTILINE)


def test_every_torchrun_line_of_a_page_can_be_typed():
    lines = [line for page in PAGES for block in blocks(page, "bash")
             for line in torchrun_lines(block)]  # fmt: skip
    assert len(lines) >= 2
    for line in lines:
        trained_by(shlex.split(line))


def test_the_slurm_script_starts_one_process_per_gpu():
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", text, re.MULTILINE))
    (line,) = torchrun_lines(text)
    values = {"$DATA": "/shared/packed", "$OUT": "/shared/run", "$SLURM_NNODES": asked["nodes"]}
    for name, value in values.items():
        line = line.replace(f'"{name}"', value)
    found, config = trained_by(shlex.split(line.replace('"$@"', "--model 1b --batch-rows 512")))
    assert found.nnodes == asked["nodes"] and asked["ntasks-per-node"] == "1"
    assert found.nproc_per_node == asked["gpus-per-node"]
    processes = int(found.nnodes) * int(found.nproc_per_node)
    require_rows(config.batch_rows, config.grad_accum, processes)
    assert config.threads * int(found.nproc_per_node) <= int(asked["cpus-per-task"])
    name, seconds = asked["signal"].split("@")
    assert name == "TERM" and found.shutdown_timeout < int(seconds)


def test_the_kubernetes_job_is_complete():
    text = (DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")
    service, job = yaml.safe_load_all(text)
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    name, pods = job["metadata"]["name"], job["spec"]
    pod = pods["template"]["spec"]
    assert service["spec"]["clusterIP"] == "None"  # headless
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert pods["completionMode"] == "Indexed" and pods["completions"] == pods["parallelism"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    assert container["command"] == ["torchrun"]
    found, config = trained_by(container["args"])
    assert int(found.nnodes) == pods["completions"]
    assert int(found.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]
    host, port = found.rdzv_endpoint.split(":")
    assert host == f"{name}-0.{pod['subdomain']}"
    assert [int(port)] == [opened["containerPort"] for opened in container["ports"]]
    assert found.shutdown_timeout < pod["terminationGracePeriodSeconds"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    for path in (config.data, config.out):
        assert path.is_relative_to(mounts["shared"])


def test_a_lost_machine_can_be_replaced():
    """A setting of torchrun that its own default breaks (tried with torch 2.13 on two agents)."""
    name = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
    assert f"export {name}=1" in (DEPLOY / "slurm.sh").read_text(encoding="utf-8")
    _, job = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {"name": name, "value": "1"} in container["env"]


def test_the_page_names_what_is_there():
    page = (ROOT / "docs" / "how-to" / "several-processes.md").read_text(encoding="utf-8")
    for name in ("slurm.sh", "kubernetes.yaml"):
        assert f"deploy/{name}" in page and (DEPLOY / name).is_file()
