"""SqueezeNet 1.1 as torchvision stores it, and with the authors' layer names and kernels ``[h, w, in, out]``.

The second layout is that of the Caffe weights as Keras ports carry them (the package ``ndf`` has them as a pickle of
numpy arrays): a kernel and a bias for each layer, ``fire2/squeeze1x1`` and so on. Its network wants BGR.
"""

from dalib.weights.families.torch_layers import convolution
from dalib.weights.rules import Rule, RuleTable

# torchvision counts pools and ReLUs among the members of "features".
_FIRES = {3: 2, 4: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8, 12: 9}


def _caffe(foreign: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rule(rf"{foreign}[./](?:0|kernel)", f"params/{ours}/kernel"),
        Rule(rf"{foreign}[./](?:1|bias)", f"params/{ours}/bias"),
    )


TABLES = {
    "torchvision/squeezenet": RuleTable(
        "squeezenet",
        1,
        (
            *convolution(r"features\.0", "conv1", bias=True),
            *(
                rule
                for theirs, ours in _FIRES.items()
                for rule in convolution(
                    rf"features\.{theirs}\.(squeeze|expand1x1|expand3x3)", rf"fire{ours}/\1", bias=True
                )
            ),
            *convolution(r"classifier\.1", "head", bias=True),
        ),
    ),
    "caffe/squeezenet": RuleTable(
        "squeezenet",
        1,
        (
            *_caffe("conv1", "conv1"),
            *_caffe("(fire[2-9])/squeeze1x1", r"\1/squeeze"),
            *_caffe("(fire[2-9])/(expand1x1|expand3x3)", r"\1/\2"),
            *_caffe("conv10", "head"),
        ),
    ),
}
