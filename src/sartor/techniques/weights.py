"""A base's network made ready to train, and made to answer with what was trained.

Adapters are PEFT's, kept in its own format; its errors are told as ours.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.data.files import write_json
from sartor.errors import MissingExtraError, ModelError, TrainingError
from sartor.models import libraries, local
from sartor.models.language_model import LanguageModel
from sartor.models.local_model import LocalModel
from sartor.models.prefix import Prefix
from sartor.techniques.experts import as_layers
from sartor.techniques.technique import Customization
from sartor.techniques.zero_shot import Prompted

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
"""What PEFT says of an adapter in its folder."""


@dataclass(frozen=True)
class Prepared:
    """A network made ready by a technique: what is trained, and how that is written to a folder."""

    parameters: dict[str, torch.nn.Parameter]
    save: Callable[[Path], Any]
    virtual: Callable[[], torch.Tensor | Prefix] | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    """Learning rates of some parameters, in parts of the others'."""
    model: Any = None
    """PEFT's model around the network, where there is one."""


def adapted(what: str, network: Any, config: Any) -> Prepared:
    """The network with PEFT's adapters of that configuration, which are what is trained."""
    with peft_errors(what):
        import peft

        model = peft.get_peft_model(network, config)
        as_layers(model)
    return prepared(network, model)


def prepared(network: Any, model: Any) -> Prepared:
    """What is trained of a network inside PEFT's model, and is kept as PEFT keeps it."""
    named = {n: p for n, p in network.named_parameters() if p.requires_grad}
    return Prepared(named, lambda folder: write_adapter(model, folder), model=model)


def write_adapter(model: Any, folder: Path, **how: Any) -> None:
    """As PEFT keeps it, which lists layers in any order; here the same training leaves the same
    bytes."""
    model.save_pretrained(folder, **how)
    path = folder / CONFIG
    kept = json.loads(path.read_text("utf-8"))
    for name in ("target_modules", "exclude_modules"):
        if isinstance(kept.get(name), list):
            kept[name].sort()
    write_json(path, kept)


def answering(
    made: Customization, network: Any, *, system: str, virtual: torch.Tensor | Prefix | None = None
) -> LanguageModel:
    """The trained network behind the system prompt it was trained with."""
    return Prompted(LocalModel(made.base, network, virtual), system)


def folded(what: str, made: Customization, system: str) -> LanguageModel:
    """The base with the adapters that were kept folded into its weights."""
    network = local.load_network(made.base, local.inference_dtype(made.base))
    with peft_errors(what):
        import peft
    with reading(made):
        if not (Path(made.directory) / "adapter_model.safetensors").is_file():
            raise ModelError("no adapter_model.safetensors")  # PEFT would go on to a pickle
        model = peft.PeftModel.from_pretrained(network, made.directory)
    return answering(made, model.merge_and_unload(), system=system)


@contextmanager
def reading(made: Customization) -> Iterator[None]:
    """While what was trained is read back: ModelError where its files are broken or gone."""
    from safetensors import SafetensorError

    try:
        with _quiet():
            yield
    except (ModelError, OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        found = libraries.reason(error)
        raise ModelError(
            f"{made.technique}: what was trained cannot be read from {made.directory} ({found}). "
            "Delete that folder and run again."
        ) from error


@contextmanager
def peft_errors(what: str) -> Iterator[None]:
    """PEFT's own errors, in ours."""
    try:
        with _quiet():
            yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(what, "peft", "local") from error
    except (ValueError, RuntimeError, AttributeError) as error:
        raise TrainingError(
            f"{what}: PEFT cannot adapt this base: {str(error).splitlines()[0].rstrip('.')}. "
            "Name its linear layers in target_modules, or choose another technique."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """What PEFT says of other libraries' future, and of what it set right by itself, is not for
    users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
        warnings.filterwarnings("ignore", r"The following \w+_pattern keys")
        warnings.filterwarnings("ignore", "lora with eva initialization used with low_cpu")
        yield
