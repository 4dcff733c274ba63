"""The networks of perceptual losses: pretrained ones, with stand-in weights, and the bundled encoder."""

import hashlib
import io
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import skimage
import standins
import torch
from PIL import Image
from torchvision.transforms.v2.functional import gaussian_blur

from latentflow import Objective, image_metrics, initial_latent, load_autoencoder, optimize
from latentflow.base.errors import MissingPackageError, WeightsError
from latentflow.base.pixels import to_uint8
from latentflow.losses import find
from latentflow.models import networks as perceptual
from latentflow.models import weights as where
from latentflow.models.weights import find_weights
from latentflow.pictures.files import fit, read_image, to_tensor


def noise(seed, size=32, count=1):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """(TORCH_HOME with random VGG16 weights, under torchvision's name and under their own; the trunk they are of, their
    SHA-256, the checkpoint that has their own name)."""
    from torchvision.models import vgg

    home = tmp_path_factory.mktemp("torch")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        # the trunk alone: the classifier is ten times as large, and nobody reads it
        trunk = vgg.make_layers(vgg.cfgs["D"], batch_norm=False).eval()
    path = home / "hub" / "checkpoints" / where.VGG16.file
    path.parent.mkdir(parents=True)
    torch.save({f"features.{name}": values for name, values in trunk.state_dict().items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    named = replace(where.VGG16, file=f"vgg16-{digest[:8]}.pth")
    (path.parent / named.file).hardlink_to(path)
    return home, trunk, digest, named


@pytest.fixture
def cached(trunk, monkeypatch):
    """The stand-in is in the cache, and its hash counts as the right one."""
    monkeypatch.setenv("TORCH_HOME", str(trunk[0]))
    monkeypatch.setattr(where, "VGG16", trunk[3])


@pytest.fixture(scope="module")
def pretrained(trunk):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TORCH_HOME", str(trunk[0]))
        monkeypatch.setattr(where, "VGG16", trunk[3])
        return perceptual.PretrainedLPIPS()


@pytest.fixture(scope="module")
def reference(trunk):
    """The lpips package as it is, its trunk alone replaced."""
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    for part in model.net.children():
        for index, layer in part.named_children():
            layer.load_state_dict(trunk[1][int(index)].state_dict())
    return model


@pytest.mark.slow
def test_lpips_is_what_the_lpips_package_computes(pretrained, reference):
    image, target = noise(1, count=2), noise(2, count=2)
    expected = reference(image * 2 - 1, target * 2 - 1).flatten()
    measured = find("lpips")(lambda name: pretrained)(image, target)
    assert measured.shape == (2,) and (measured > 0).all()
    torch.testing.assert_close(measured, expected, rtol=1e-4, atol=1e-7)


def test_lpips_of_a_picture_with_itself_is_zero(pretrained):
    assert find("lpips")(lambda name: pretrained)(noise(1), noise(1)).item() == 0


def test_vgg_is_what_torchvision_computes(cached, trunk):
    """relu3_3 of torchvision's own layers, ImageNet's normalization written out."""
    image, target = noise(1, size=48, count=2), noise(2, size=48, count=2)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        one, two = (trunk[1][:16]((each - mean[:, None, None]) / std[:, None, None]) for each in (image, target))
    assert one.shape == (2, 256, 12, 12)  # a quarter of the side, 256 channels, as relu3_3 has them
    loss = find("vgg")(perceptual.Networks("pretrained"))
    assert loss.label == "vgg"
    torch.testing.assert_close(loss(image, target), (one - two).square().mean(dim=(1, 2, 3)), rtol=1e-4, atol=1e-8)


def test_both_networks_come_from_one_file(cached):
    networks = perceptual.Networks("pretrained")
    assert [networks(name).label for name in ("vgg", "lpips")] == ["vgg", "lpips"] and not networks.notices


def test_auto_downloads_for_a_loss_and_says_when_the_bundled_network_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(where.Checkpoint, "fetch", lambda self: "there is no network")
    figures = perceptual.Networks("auto")
    assert figures("lpips").label == "lpips[bundled]"
    path = where.VGG16.path
    assert figures.notices == {"lpips": f"Using lpips[bundled] instead of lpips: VGG16 is not in the cache ({path})."}
    loss = perceptual.Networks("auto", download=True)
    assert loss("vgg").label == "vgg[bundled]"
    assert loss.notices == {"vgg": "Using vgg[bundled] instead of vgg: VGG16 can't be downloaded: there is no network."}
    with pytest.raises(WeightsError, match="weights fetch --vgg16"):
        perceptual.Networks("pretrained", download=True)("vgg")


def test_vgg16_is_fetched_by_torch_and_its_hash_checked(trunk, tmp_path, monkeypatch, cached):
    """A server on the loopback address; a file with another hash never arrives."""
    source = trunk[0] / "hub" / "checkpoints" / where.VGG16.file
    served = tmp_path / "served"
    served.mkdir()
    good, bad = served / f"vgg16-{trunk[2][:8]}.pth", served / "vgg16-00000000.pth"
    good.write_bytes(source.read_bytes())
    bad.write_bytes(b"something else")
    with standins.folder_server(served) as url:
        from latentflow.models.hub import download_url

        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        arrived = tmp_path / "new" / good.name
        assert download_url(f"{url}/{good.name}", arrived, ask_again=True) == ""
        assert arrived.read_bytes() == source.read_bytes()
        problem = download_url(f"{url}/{bad.name}", tmp_path / "new" / bad.name, ask_again=True)
        assert "invalid hash" in problem and not (tmp_path / "new" / bad.name).exists()
        assert "404" in download_url(f"{url}/none.pth", tmp_path / "new" / "none.pth", ask_again=True)


def test_the_bundled_stage_is_a_quarter_of_the_side_and_the_label_says_what_it_is(autoencoder):
    network = perceptual.Networks("bundled")("vgg")
    (stage,) = network.stages(noise(1, size=64) * 2 - 1)
    assert stage.shape[-2:] == (16, 16) and network.label == "vgg[bundled]"
    loss = find("vgg")(perceptual.Networks("bundled"))
    (other,) = network.stages(noise(2, size=64) * 2 - 1)
    assert float(loss(noise(1, size=64), noise(2, size=64))) == pytest.approx(float((stage - other).square().mean()))


@pytest.mark.parametrize("kind", ["pretrained", "bundled"])
@pytest.mark.parametrize("level", [0.0, 0.5])
def test_the_gradient_on_a_flat_picture_is_finite(request, kind, level):
    network = request.getfixturevalue("pretrained") if kind == "pretrained" else perceptual.BundledFeatures("lpips")
    image = torch.full((1, 3, 32, 32), level, requires_grad=True)
    find("lpips")(lambda name: network)(image, noise(2)).sum().backward()
    assert torch.isfinite(image.grad).all() and image.grad.abs().sum() > 0


@pytest.mark.filterwarnings("error")
def test_loading_lpips_prints_and_warns_of_nothing(cached, capfd):
    perceptual.Networks("pretrained")("lpips")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_pretrained_network_is_used_if_it_is_cached(cached):
    assert perceptual.Networks("auto")("lpips").label == "lpips"
    assert Objective("lpips", noise(1)).label == "lpips"
    assert perceptual.Networks("bundled")("lpips").label == "lpips[bundled]"


def test_without_the_cache_auto_uses_the_bundled_network_and_pretrained_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert perceptual.Networks("auto")("lpips").label == "lpips[bundled]"
    with pytest.raises(WeightsError, match="VGG16") as caught:
        perceptual.Networks("pretrained")("lpips")
    assert caught.value.exit_code == 4


def test_weights_that_are_not_those_of_their_name_are_an_error(trunk, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(trunk[0]))  # random weights under torchvision's name
    for policy in ("auto", "pretrained"):
        with pytest.raises(WeightsError, match="397923af"):
            perceptual.Networks(policy)("lpips")


def test_a_pickle_with_the_wrong_hash_is_never_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    where.VGG16.path.parent.mkdir(parents=True)
    where.VGG16.path.write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was opened"))
    with pytest.raises(WeightsError, match="corrupt"):
        perceptual.Networks("auto")("lpips")


def test_weights_are_looked_for_where_torchvision_keeps_them(tmp_path, monkeypatch):
    from torch.hub import get_dir
    from torchvision.models import VGG16_Weights

    for variables in ({"TORCH_HOME": f"{tmp_path}/t"}, {"XDG_CACHE_HOME": f"{tmp_path}/x"}, {}):
        for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert str(where.VGG16.path.parent.parent) == get_dir()
    assert VGG16_Weights.IMAGENET1K_V1.url.endswith(f"/{where.VGG16.file}")


def test_lpips_without_its_package_says_what_to_install(cached, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(MissingPackageError, match=r"lpips can't be imported: .* pip install lpips"):
        perceptual.Networks("pretrained")("lpips")


def test_an_unknown_network_is_an_error():
    with pytest.raises(WeightsError, match="no network named alexnet"):
        perceptual.Networks("auto")("alexnet")


def test_a_network_is_loaded_once(monkeypatch):
    load = perceptual.Networks("bundled")
    assert load("lpips") is load("lpips")


@pytest.mark.parametrize("height,width", [(33, 50), (64, 40)])
def test_the_bundled_features_take_any_size(height, width):
    stages = perceptual.BundledFeatures("lpips").stages(torch.rand(2, 3, height, width) * 2 - 1)
    assert len(stages) >= 3
    sizes = [stage.shape[-2:] for stage in stages]
    assert all(stage.ndim == 4 and len(stage) == 2 for stage in stages)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] != sizes[-1]  # from shallow to deep


def test_the_bundled_features_distinguish_images():
    loss = find("lpips")(perceptual.Networks("bundled"))
    same, near, far = (
        loss(picture, noise(1)).item() for picture in (noise(1), 0.9 * noise(1) + 0.1 * noise(2), noise(2))
    )
    assert same == 0 < near < far


def photograph(name, side):
    return to_tensor(fit(read_image(Path(skimage.__file__).parent / "data" / name).image, side, "cover"))


def jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(file, "JPEG", quality=quality)
    return to_tensor(Image.open(file))


# from weak to strong
DISTORTIONS = {
    "blur": (lambda image, sigma: gaussian_blur(image, [25, 25], [sigma, sigma]), (0.5, 1, 2, 4)),
    "noise": (lambda image, level: image + level * (noise(7, 128) - 0.5) * 12**0.5, (0.02, 0.05, 0.1, 0.2)),
    "jpeg": (jpeg, (90, 50, 20, 5)),
    "cast": (lambda image, level: image + level * torch.tensor([1.0, 0, -1])[:, None, None], (0.02, 0.05, 0.1, 0.2)),
    "shift": (lambda image, pixels: image.roll(pixels, -1), (1, 2, 4, 8)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lpips", "vgg"])
@pytest.mark.parametrize("picture", ["astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg"])
def test_the_bundled_networks_order_distortions_by_strength(name, picture):
    target = photograph(picture, 128)
    bound = find(name)(perceptual.Networks("bundled")).bind(target)
    found, energies = {}, {}
    with torch.no_grad():
        for kind, (distort, levels) in DISTORTIONS.items():
            images = [distort(target, level).clamp(0, 1) for level in levels]
            found[kind] = [float(bound(image)) for image in images]
            energies[kind] = [float((image - target).square().mean()) for image in images]
            assert found[kind][0] > 0 and found[kind] == sorted(found[kind]), kind
    if name == "lpips":  # unlike MSE, LPIPS weights blur more than noise or a shift by a pixel
        blur = found["blur"][2] / energies["blur"][2]
        assert blur > found["noise"][2] / energies["noise"][2] and blur > found["shift"][0] / energies["shift"][0]


@pytest.mark.slow
def test_a_run_with_bundled_lpips_ends_nearer_than_with_tv_or_sinkhorn():
    autoencoder = load_autoencoder(find_weights("bundled"))
    networks = perceptual.Networks("bundled")
    target = photograph("coffee.png", 64)
    latent = initial_latent("normal", autoencoder, target, seed=0)
    ends = {}
    for loss in ("lpips", "tv", "sinkhorn"):
        *_, last = optimize(autoencoder, Objective(loss, target, networks), latent, steps=25)
        ends[loss] = image_metrics(last.image, target, networks)
    for other in ("tv", "sinkhorn"):
        assert ends["lpips"]["lpips"] < 0.5 * ends[other]["lpips"]
        assert ends["lpips"]["ssim"] > ends[other]["ssim"] + 0.1
