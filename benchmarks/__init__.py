"""How fast vae_exp is, as ratios to the machine's limit and to others, measured in one run.

`paired` the harness · `products` the limit · `training` an epoch, ours and plain loops · `peers`
other packages · `job` the rest of a run · `growth` how cost grows · `machine` where it ran.
"""
