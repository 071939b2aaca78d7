"""What a run, a sweep or a comparison came to, as one HTML file that needs no network.

`markup` tags with everything escaped · `document` the page around its sections · `live` the model
in the page, by `explorer` · `numbers`, `curves`, `pictures`, `origins` the other sections ·
`run_page`, `comparison_page`, `sweep_page` whole pages · `task` the command.
"""
