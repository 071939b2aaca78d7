"""The same model, data and batch in other packages; each is left out if it is not installed."""

import contextlib
import importlib.util
import io
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.paired import Contest

HIDDEN, PIXELS, DIMS = 500, 784, 2


def jax_scan(images: Tensor, batch: int) -> Contest:
    """JAX with Adam written out, the whole epoch in one jitted scan."""
    import jax
    import jax.numpy as jnp

    shapes = {
        "w1": (PIXELS, HIDDEN), "b1": (HIDDEN,), "wq": (HIDDEN, 2 * DIMS), "bq": (2 * DIMS,),
        "w2": (DIMS, HIDDEN), "b2": (HIDDEN,), "w3": (HIDDEN, PIXELS), "b3": (PIXELS,),
    }  # fmt: skip
    keys = jax.random.split(jax.random.key(0), len(shapes))
    weights = {
        name: jax.random.normal(key, shape) * shape[0] ** -0.5 * (len(shape) > 1)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    data = jnp.asarray(images.numpy())

    def loss(w: Any, x: Any, noise: Any) -> Any:
        mean, log_std = jnp.split(jnp.tanh(x @ w["w1"] + w["b1"]) @ w["wq"] + w["bq"], 2, axis=-1)
        z = mean + jnp.exp(log_std) * noise
        logits = jnp.tanh(z @ w["w2"] + w["b2"]) @ w["w3"] + w["b3"]
        log_p_x_given_z = (x * logits - jax.nn.softplus(logits)).sum(-1)
        kl = (0.5 * (mean**2 + jnp.exp(2 * log_std) - 1) - log_std).sum(-1)
        return (kl - log_p_x_given_z).mean()

    def step(carry: Any, inputs: Any) -> Any:
        w, m, v, t = carry
        rows, noise = inputs
        value, g = jax.value_and_grad(loss)(w, data[rows], noise)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        w = jax.tree.map(
            lambda w, m, v: w - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8),
            w, m, v,
        )  # fmt: skip
        return (w, m, v, t), value

    def epoch(carry: Any, key: Any) -> Any:
        order, draws = jax.random.split(key)
        steps = len(data) // batch
        rows = jax.random.permutation(order, len(data)).reshape(steps, batch)
        noise = jax.random.normal(draws, (steps, batch, DIMS))
        return jax.lax.scan(step, carry, (rows, noise))

    jitted = jax.jit(epoch)
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = {"carry": (weights, zeros, zeros, 0.0), "key": jax.random.key(1)}

    def run() -> Mapping[str, float]:
        state["key"], key = jax.random.split(state["key"])
        start = time.perf_counter()
        state["carry"], values = jitted(state["carry"], key)
        values.block_until_ready()
        return {"JAX, an epoch in one scan": time.perf_counter() - start}

    return run


def pyro_svi(images: Tensor, batch: int) -> Contest:
    """Pyro with Trace_ELBO and its Adam."""
    pyro: Any = importlib.import_module("pyro")
    infer: Any = importlib.import_module("pyro.infer")
    optim: Any = importlib.import_module("pyro.optim")
    dist: Any = importlib.import_module("pyro.distributions")
    from benchmarks.training import default_model

    vae = default_model()
    pyro.enable_validation(False)

    def model(x: Tensor) -> None:
        pyro.module("decoder", vae.decoder)
        with pyro.plate("images", len(x)):
            prior = dist.Normal(x.new_zeros(len(x), DIMS), x.new_ones(len(x), DIMS))
            z = pyro.sample("z", prior.to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=vae.decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", vae.encoder)
        with pyro.plate("images", len(x)):
            mean, log_std = vae.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, log_std.exp()).to_event(1))

    svi = infer.SVI(model, guide, optim.Adam({"lr": 1e-3}), loss=infer.Trace_ELBO())

    def run() -> Mapping[str, float]:
        start = time.perf_counter()
        for rows in torch.randperm(len(images)).split(batch):
            svi.step(images[rows])
        return {"Pyro, Trace_ELBO": time.perf_counter() - start}

    return run


def pythae_trainer(images: Tensor, batch: int) -> Contest:
    """pythae's own trainer on its VAE with the same networks; seconds of its second epoch."""
    models: Any = importlib.import_module("pythae.models")
    nets: Any = importlib.import_module("pythae.models.nn")
    output: Any = importlib.import_module("pythae.models.base.base_utils")
    trainers: Any = importlib.import_module("pythae.trainers")
    datasets: Any = importlib.import_module("pythae.data.datasets")
    logging.disable(logging.INFO)

    linear = torch.nn.Linear

    class Encoder(nets.BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.mean = linear(PIXELS, HIDDEN), linear(HIDDEN, DIMS)
            self.log_var = linear(HIDDEN, DIMS)

        def forward(self, x: Tensor) -> Any:
            h = torch.tanh(self.hidden(x.flatten(1)))
            return output.ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(nets.BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.pixels = linear(DIMS, HIDDEN), linear(HIDDEN, PIXELS)

        def forward(self, z: Tensor) -> Any:
            x = torch.sigmoid(self.pixels(torch.tanh(self.hidden(z))))
            return output.ModelOutput(reconstruction=x.reshape(-1, 1, 28, 28))

    data = datasets.BaseDataset(images.reshape(-1, 1, 28, 28), torch.zeros(len(images)))

    def run() -> Mapping[str, float]:
        config = models.VAEConfig((1, 28, 28), DIMS, reconstruction_loss="bce")
        with tempfile.TemporaryDirectory() as folder, quiet():
            trainer = trainers.BaseTrainer(
                models.VAE(config, Encoder(), Decoder()),
                data,
                training_config=trainers.BaseTrainerConfig(
                    folder, per_device_train_batch_size=batch, num_epochs=2, no_cuda=True
                ),
            )
            trainer.prepare_training()
            trainer.train_step(1)
            start = time.perf_counter()
            trainer.train_step(2)
            return {"pythae, its trainer": time.perf_counter() - start}

    return run


@contextlib.contextmanager
def quiet() -> Any:
    """Let a package print nothing."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


PEERS: dict[str, Callable[[Tensor, int], Contest]] = {
    "jax": jax_scan,
    "pyro": pyro_svi,
    "pythae": pythae_trainer,
}


def installed() -> dict[str, Callable[[Tensor, int], Contest]]:
    """Those whose package is there."""
    return {name: make for name, make in PEERS.items() if importlib.util.find_spec(name)}
