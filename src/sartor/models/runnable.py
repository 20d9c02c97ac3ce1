"""Whether a base can be run here: what of it only loading shows, told before a run.

Copies of a base with few layers and random weights say little of that: some architectures fail on
them that are whole, and the base's own weights are not in them. A package that its weights need is
asked for without reading them.
"""

from __future__ import annotations

from sartor.errors import SartorError
from sartor.models import base_card, local
from sartor.models.devices import memory
from sartor.models.language_model import ModelCard
from sartor.models.memory import give_back


def fault(card: ModelCard, *, loaded: bool) -> str:
    """What a run would say of a base that it cannot run; empty where nothing is found. Weights are
    read only where it is to be `loaded`, and they fit."""
    try:
        _refuse_unreadable(card)
        if loaded and card.parameters * local.inference_dtype(card).itemsize <= memory():
            local.load_tokenizer(card)
            local.load_network(card, local.inference_dtype(card))
    except SartorError as error:
        return str(error)
    finally:
        give_back()
    return ""


def _refuse_unreadable(card: ModelCard) -> None:
    """ModelError where the weights are stored in a form that nothing here reads."""
    from transformers.quantizers.auto import AutoHfQuantizer

    config = base_card.configuration(card.path, card.trust_remote_code)
    texts = config.get_text_config(decoder=True)
    form = getattr(config, "quantization_config", None) or getattr(
        texts, "quantization_config", None
    )
    if form is None:
        return
    try:
        if AutoHfQuantizer.supports_quant_method(form):  # else it is passed over
            reader = AutoHfQuantizer.from_config(form, pre_quantized=True)
            reader.validate_environment(device_map=None, weights_only=True)
    except Exception as error:  # each form raises its own
        raise local.not_loaded(card, error) from error
