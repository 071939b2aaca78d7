"""Many runs as one question: jobs, where they run, and the summary that they end in.

`sweeps` a sweep's folder and its jobs · `command` what the command line starts or resumes ·
`working` one job · `looks` a question to each run · `launching` Hydra's launchers and sweepers ·
`search` a study · `replicates` settings over seeds · `differences` paired by seed and image ·
`summary` tables and files · `figure` the picture. `sweeps` and `command` import nothing heavy.
"""
