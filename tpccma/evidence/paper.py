"""What the paper states: its claims C1 to C8, and the figures that measured ones are set against.

Source: abstract of arXiv 2604.00279v1 [paper]; alpha is its alpha_target.
"""

GAP_REDUCTION = {0.05: 66.6, 0.5: 82.3}  # per cent, by alpha
ACCURACY_DROP = 4.84  # per cent or points, at alpha 0.05
ARI = (0.318, 0.516)  # of joint clustering: base, alpha 0.5
CIDER_GAIN = 57.1  # per cent, at alpha 0.5
R_SQUARED = {"distribution_gap": 0.986, "raw_gap": 0.691}  # against task quality
CLAIMS = {
    "C1": ("gap reduction at alpha 0.05", f"{GAP_REDUCTION[0.05]} %"),
    "C2": ("accuracy drop at alpha 0.05", f"{ACCURACY_DROP} %"),
    "C3": ("gap reduction at alpha 0.5", f"{GAP_REDUCTION[0.5]} %"),
    "C4": ("joint clustering ARI, base to alpha 0.5", f"{ARI[0]} to {ARI[1]}"),
    "C5": ("captioning CIDEr, base to alpha 0.5", f"+{CIDER_GAIN} %"),
    "C6": ("R² of the distribution gap against task quality", f"{R_SQUARED['distribution_gap']}"),
    "C7": ("R² of the raw gap against task quality", f"{R_SQUARED['raw_gap']}"),
    "C8": ("mean-centring removes the centroid gap, leaves the distribution gap", "stated"),
}
# The same in a few words.
SAYS = {
    "C1": "alpha 0.05 shrinks the gap",
    "C2": "alpha 0.05 costs accuracy",
    "C3": "alpha 0.5 shrinks the gap",
    "C4": "alpha 0.5 lifts clustering, ARI",
    "C5": "alpha 0.5 lifts captions, CIDEr",
    "C6": "the distribution gap predicts quality, R²",
    "C7": "the raw gap less so, R²",
    "C8": "centring leaves what matters (its share of alpha 0.5's gain in captions)",
}
