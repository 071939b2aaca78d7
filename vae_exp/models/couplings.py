"""What the flows of priors and of posterior families ask for alike."""

from vae_exp import memory
from vae_exp.errors import UserError, check_positive
from vae_exp.probability.flows import count_weights


def require_couplings(part: str, latent_dim: int, couplings: int, hidden: int) -> int:
    """How many weights a flow's couplings have.

    Raises UserError if they are none that can be, or more than memory holds.
    """
    sizes = {"latent_dim": latent_dim, "couplings": couplings, "hidden": hidden}
    sizes = {f"{part}.{name}": size for name, size in sizes.items()}
    for name, size in sizes.items():
        check_positive(name, size)
    if latent_dim == 1:
        raise UserError(
            f"{part}=realnvp needs latent_dim 2 or more, as one half of z moves the other, got 1: "
            f"take {part}=mixture"
        )
    # Each coupling has at least a weight a coordinate, so huge numbers are told before they are
    # counted coupling by coupling.
    memory.require(4.0 * couplings * hidden * latent_dim, sizes)
    return count_weights(latent_dim, couplings, hidden)
