"""Inference of z from any log joint, a callable from z [.., Z] to [..]; no model is known here.

`bounds` log weights to bounds · `svi` fit a q · `importance` weigh samples of a q · `hmc` and `ais`
chains · `lattice` the exact integral over one or two dimensions, `quasi` over three · `quadrature`
a q's ELBO without samples, a posterior on a grid · `progress` how far a long computation is.
"""
