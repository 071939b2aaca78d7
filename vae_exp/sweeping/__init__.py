"""Many runs as one question: jobs, where they run, and the summary that they end in.

`sweeps` a sweep's folder and its jobs · `command` what the command line starts or resumes ·
`launching` Hydra's launchers and sweepers · `replicates` settings over seeds · `differences` paired
by seed and image · `summary` tables and files · `figure` the picture. `sweeps` and `command` import
nothing heavy. `strangers` what of a sweep's files may become part of a command.
"""
