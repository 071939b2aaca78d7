"""The VAE and the parts that it is made of.

`vae` the model: three distributions and the log densities they make · `contracts` what each kind of
part must give · `networks/` encoders and decoders · `priors/`, `likelihoods/`, `posteriors/` one
module a part · `objectives/` the bounds that training maximises.
"""
