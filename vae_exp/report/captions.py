"""How to read each figure, in a sentence, and what it shows, for those who cannot see it."""

from vae_exp.report.looks import described

# A figure's name without the settings of its look -> what it shows, how to read it.
CAPTIONS = {
    "samples": (
        "images that the model generates, one z a column",
        "Each column is one z drawn from the prior: above, the mean of p(x | z); below, one image "
        "drawn from p(x | z), pixel by pixel.",
    ),
    "scatter": (
        "the encoder's means of the training images in the latent plane, coloured by class",
        "Each dot is the mean of q(z | x) of one training image; a number stands amid the dots of "
        "its class, and the dashed lines hold what 1, 2 and 3 σ hold of a Gaussian prior.",
    ),
    "interpolation": (
        "rows of decoded images between pairs of images of different classes",
        "Each row goes along the straight line between the latent means of its two outer images; "
        "a number above a column is the share of the left one.",
    ),
    "manifold": (
        "a grid of decoded images over the latent plane",
        "Each small image is the mean of p(x | z) at one place of the latent plane; the places are "
        "quantiles of the prior, so each image stands for the same share of what is generated.",
    ),
    "top_half": (
        "the posterior of z given the top half of an image, and what it says of the bottom",
        "The shaded areas on the left hold 50, 80 and 95 % of p(z | visible pixels), the lines the "
        "same of a fitted q; on the right the hidden pixels are what one z of this q foretells.",
    ),
    "complete": (
        "the posterior of z given the visible part of an image, and what it says of the rest",
        "The shaded areas on the left hold 50, 80 and 95 % of p(z | visible pixels), the lines the "
        "same of a fitted q; on the right the hidden pixels are what one z of this q foretells.",
    ),
    "top_half_svi": (
        "fitted and exact posteriors of z given the top half, completions, and the fit's trace",
        "The dotted lines show the mistake of giving the encoder half an image; if the two rows of "
        "completions look alike, the fitted q is as good as p(z | visible), and the trace below "
        "shows that the fit has come to rest.",
    ),
    "complete_svi": (
        "fitted and exact posteriors of z given visible pixels, completions, and the fit's trace",
        "The dotted lines show the mistake of giving the encoder part of an image; if the two rows "
        "of completions look alike, the fitted q is as good as p(z | visible), and the trace below "
        "shows that the fit has come to rest.",
    ),
    "evaluate_gap": (
        "bars of the inference gap by class, in parts",
        "The height of a bar is log p(x) − ELBO, averaged over the images of a class, and its "
        "colours say what would have to change to close it; the whiskers are standard errors.",
    ),
    "evaluate_worst_amortised": (
        "the images with the largest amortisation gaps, and what two q make of each",
        "These images are served worst by the encoder: the second row shows what its q decodes to, "
        "the third what the best q of the same family would decode to.",
    ),
    "posterior_atlas": (
        "exact posteriors of six images beside the encoder's q and the best Gaussians",
        "The shaded areas hold 50, 80 and 95 % of the exact posterior; a q whose lines lie over "
        "their edges is right, and the dotted lines of the encoder's q show what it gets wrong.",
    ),
    "trust": (
        "rank histograms, coverage of q's regions, and KL by dimension",
        "Flat histograms and a curve on the diagonal mean that q is calibrated: bars that rise at "
        "both ends, and a curve below the diagonal, mean that q is too narrow.",
    ),
    "evidence_by_epoch": (
        "log p(x), IWAE and the ELBO of the same validation images by epoch",
        "The distance between log p(x) and the ELBO is the gap: if log p(x) goes on rising while "
        "the ELBO falls, the encoder falls behind its decoder.",
    ),
    "ceiling": (
        "what lies between log p(x) of an exactly trained decoder and the ELBO, in parts",
        "From the lowest to the highest mark lies what the ELBO costs; each part has a colour.",
    ),
}


def caption(task: str, figure: str) -> tuple[str, str]:
    """What a figure shows, and how to read it, at least by what ``conf/task`` says of the task."""
    if figure in CAPTIONS:
        return CAPTIONS[figure]
    words = figure.replace("_", " ")
    return words, described(task) or f"{words}."
