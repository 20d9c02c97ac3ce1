"""Weights that are not read: what is said of them, and how to come by safetensors.

Pickled ones can run code where they are loaded; GGUF holds no network that transformers trains. The
advice is followed word by word in the tests.
"""

from __future__ import annotations

from pathlib import Path

PICKLED = ("pytorch_model*.bin", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
BESIDE = ("training_args", "optimizer", "scheduler", "rng_state")
"""What a training leaves beside its weights begins so."""
FROM_GGUF = (
    "GGUF is a format for answering alone. Give the model that it was made from (a folder or a "
    "Hugging Face id), or serve it, such as with llama-server, and name that in [remote.<name>]."
)


def refusal(path: Path) -> str:
    """What is said of a folder without safetensors: what it holds instead, and what to do."""
    for kind in PICKLED:
        found = sorted(p for p in path.glob(kind) if not p.name.startswith(BESIDE))
        if found:
            return (
                f"{path} holds only {found[0].name}; sartor reads safetensors only, because "
                f"loading pickled weights can run code. {_conversion(found[0].name)}"
            )
    if found := sorted(path.glob("*.gguf")):
        return f"{path} holds only {found[0].name}, and {FROM_GGUF}"
    return f"{path} holds no weights. Expected *.safetensors: copy or download it again, whole."


def refusal_of_repository(repository: str, revision: str) -> str:
    """The same of one on the hub, of which nothing but safetensors was fetched."""
    given = f"{repository!r}, revision={revision!r}" if revision else repr(repository)
    return (
        "its repository on the hub has no safetensors. Give another revision or copy of it that "
        "has some. Or, where it has pytorch_model.bin, convert that once, with transformers on a "
        f"machine you trust: AutoModelForCausalLM.from_pretrained({given}).save_pretrained("
        "new_folder), and the same with AutoTokenizer."
    )


def _conversion(name: str) -> str:
    """Of pickled weights; transformers finds those under its own name by itself."""
    if name.startswith("pytorch_model"):
        return (
            "Convert once, with transformers on a machine you trust: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder), and the "
            "same with AutoTokenizer."
        )
    return (
        "Convert once, with transformers on a machine you trust: network = "
        "AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)); "
        "network.load_state_dict(weights), which torch.load reads from the file with "
        "weights_only=True; network.save_pretrained(new_folder); and "
        "AutoTokenizer.from_pretrained(folder).save_pretrained(new_folder)."
    )
