"""What older versions left behind, as this one would have written it."""

from typing import Any, TypeVar

T = TypeVar("T")

MOVED = {
    "vae_exp.data.DigitsDataModule": "vae_exp.data.ImageData",
    "vae_exp.model.VAE": "vae_exp.models.vae.VAE",
    "vae_exp.networks.Encoder": "vae_exp.models.networks.Encoder",
    "vae_exp.networks.Decoder": "vae_exp.models.networks.Decoder",
    "vae_exp.objectives.ELBO": "vae_exp.models.objectives.ELBO",
    "vae_exp.objectives.IWAE": "vae_exp.models.objectives.IWAE",
    "vae_exp.optimizers.Adam": "vae_exp.training.optimizers.Adam",
    "vae_exp.optimizers.AdamOneCycle": "vae_exp.training.optimizers.AdamOneCycle",
    "vae_exp.training.Hardware": "vae_exp.training.hardware.Hardware",
    "vae_exp.distributed.Processes": "vae_exp.training.distributed.Processes",
    "vae_exp.tasks.Train": "vae_exp.training.train.Train",
}
RENAMED = {"decoder.logits.": "decoder.parameters_of_x."}  # weights, by the start of their names


def upgraded_part(node: Any) -> Any:
    """A part of a config with today's class names; a network's latent_dim moves to its model."""
    if isinstance(node, list):
        return [upgraded_part(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: upgraded_part(item) for key, item in node.items()}
    if node.get("_target_") == "vae_exp.model.VAE":
        for name in ("encoder", "decoder"):
            if isinstance(node.get(name), dict) and "latent_dim" in node[name]:
                node["latent_dim"] = node[name].pop("latent_dim")
    if node.get("_target_") in MOVED:
        node["_target_"] = MOVED[node["_target_"]]
    return node


def upgraded_config(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config with today's class names."""
    return {key: upgraded_part(value) for key, value in config.items()}


def renamed(weights: dict[str, T]) -> dict[str, T]:
    """Weights, or what is said of each, under today's names."""
    found = {}
    for name, value in weights.items():
        for old, new in RENAMED.items():
            if name.startswith(old):
                name = new + name.removeprefix(old)
        found[name] = value
    return found
