"""A run's folder: what is saved in it, how it is found, loaded and looked at again."""
