"""Variational autoencoders on binarised MNIST, where every number is exact or carries an error bar.

Axes, used as trailing comments throughout; batch first, samples before the batch:

====  =====================================================================
S     samples of z for one image
B     images
Z     latent dimensions
D     pixels, 784 = 28 x 28, row-major
G     points of a grid over z
====  =====================================================================

``log_*``, ``elbo`` and ``iwae`` are in nats per image and are maximised; constants are kept.
``loss`` is the one thing that is minimised. Scale parameters are ``log_std`` everywhere.

From the ground up: ``seeding``, ``densities``, ``networks``, ``bounds``, ``data`` and ``figures``
know nothing of the rest; ``posteriors`` and ``model`` put densities and networks together;
``svi``, ``lattice`` and ``quadrature``, ``importance``, ``ais`` and ``hmc`` infer z from any log
joint; ``evaluation``, ``gap``, ``completion``, ``diagnostics`` and ``comparison`` turn a model and
data into numbers; ``analysis`` holds one module per question put to a trained model. Nothing up to
here needs Lightning or Hydra.

``training`` (with ``objectives``, ``optimizers``, ``watch``), ``callbacks``, ``board``,
``checkpointing``, ``distributed``, ``runs`` and ``tasks`` run experiments; ``sweeping`` runs many;
``config`` and ``knobs`` check what is typed before any of this is imported.
"""
