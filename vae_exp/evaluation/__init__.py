"""A model and data in, numbers with their errors out.

`estimates` means with standard errors, the ELBO · `exact` the exact evidence · `certificate` two
numbers that hold it · `importance`, `ais` bounds for any number of dimensions · `evidence` which of
them is taken for log p(x) · `gap` what separates the ELBO from it · `completion` and `masks` hidden
pixels · `diagnostics` can q be trusted? · `simulation` images of which z is known.
"""
