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
``svi`` and ``quadrature`` infer z from any log joint; ``evaluation`` turns a model and data into
numbers; ``analysis`` holds one module per question put to a trained model; ``training``,
``callbacks``, ``runs`` and ``tasks`` run experiments. Nothing below ``training`` needs Lightning
or Hydra.
"""
