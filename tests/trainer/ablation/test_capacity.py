from tests.support.datasets import make_contract
from trainer.models import build


def test_capacity_goes_with_the_square_of_the_width():
    def filters(name):
        return [layer.filters for layer in build.build(name, make_contract()).layers if hasattr(layer, "filters")]

    assert filters("cnn") == [16, 32, 64, 128]
    assert filters("trainer.ablation.capacity:half") == [8, 16, 32, 64]
    assert filters("trainer.ablation.capacity:double") == [32, 64, 128, 256]
