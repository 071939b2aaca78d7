"""What a run, a sweep or a comparison came to, as one HTML file that needs no network.

`markup` tags with everything escaped · `document` the page around the sections · `numbers`,
`curves`, `pictures`, `origins` the sections · `run_page`, `comparison_page`, `sweep_page` whole
pages.
"""
