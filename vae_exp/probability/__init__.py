"""Densities, samplers, distributions and divergences, all written out here.

`densities` log densities and samplers of tensors · `distributions` what each distribution can do ·
`gaussians`, `bernoulli` the distributions · `divergences` KL in closed form · `streams` random
numbers as functions of a seed and of what they are for.
"""
