"""Why a VAE's plane has no holes: `python examples/digits.py --output_dir digits`, a minute on a CPU, no download.

A small convolutional network squeezes scikit-learn's 8 × 8 digits through two numbers, and is trained twice: as a plain
autoencoder on the binary cross-entropy (BCE) of the pixels, and as a VAE (Kingma and Welling 2014) on BCE + KL.

    latents.png  the held-out digits in the plane, and the square [-2, 2]² decoded
    holes.png    what the decoder was trained on, what it makes of the plane, how far that is from any digit
    table.txt    the figures, printed as well

A plain decoder is trained on points, and nothing determines what it decodes the rest of the plane to. The VAE's is
trained on Gaussians, which the KL term pulls towards N(0, 1) until together they cover it. Two limits of this example:
between close codes the plain decoder does well too, so its [-2, 2]² is not a hole but a part of a larger cloud that
shows few digits; and a small distance to a digit allows for blur, which is common where one digit turns into another.
With --beta 0, without KL, the Gaussians shrink to points again.

--data mnist takes 12 500 pictures of 28 × 28 pixels of MNIST instead, from --data_dir or, with network access,
from where torchvision finds them. It needs torchvision, and many times as long.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

EPOCHS = {"digits": 80, "mnist": 20}
SQUARE = 2.0  # half its side; 91 % of N(0, 1) lies in [-2, 2]²
Box = tuple[float, float, float, float]  # left, right, bottom, top


class Network(nn.Module):
    """Pictures (n, 1, side, side) to codes (n, 2), which are Gaussians or, in a plain autoencoder, their means; and
    back. `side` is a multiple of 4."""

    def __init__(self, variational: bool, width: int = 32, side: int = 8) -> None:
        super().__init__()
        small = side // 4
        flat = 2 * width * small**2
        self.variational, self.name = variational, "VAE" if variational else "autoencoder"
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, width, 3, padding=1), nn.SiLU()),
            *(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.SiLU()),  # 8 × 8 → 4 × 4, or 28 → 14
            *(nn.Conv2d(2 * width, 2 * width, 4, stride=2, padding=1), nn.SiLU()),  # 4 × 4 → 2 × 2, or 14 → 7
            *(nn.Flatten(), nn.Linear(flat, 64), nn.SiLU(), nn.Linear(64, 4)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, flat), nn.SiLU(), nn.Unflatten(1, (2 * width, small, small))),
            *(nn.ConvTranspose2d(2 * width, 2 * width, 4, stride=2, padding=1), nn.SiLU()),
            *(nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.SiLU()),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def encode(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (n, 2) of each picture's code."""
        mean, log_variance = self.encoder(pictures).chunk(2, dim=1)
        return mean, log_variance

    @torch.no_grad()
    def pictures(self, codes: Tensor) -> Tensor:
        """The pictures (n, 1, side, side) in [0, 1] of codes (n, 2)."""
        return torch.sigmoid(self.decoder(codes))


@dataclass(frozen=True)
class Digits:
    """Pictures (n, 1, side, side) in [0, 1] and their labels: those to train on, and a quarter or less held out."""

    train: Tensor
    test: Tensor
    train_labels: np.ndarray
    test_labels: np.ndarray

    @property
    def side(self) -> int:
        """Pixels of a picture's side."""
        return self.train.shape[-1]

    def nearest(self, pictures: Tensor) -> tuple[Tensor, np.ndarray]:
        """RMSE over the pixels to the nearest training digit, and the class of that digit."""
        known = self.train.flatten(1)
        found = [torch.cdist(some, known).min(dim=1) for some in pictures.flatten(1).split(2000)]
        distance, index = (torch.cat(each) for each in zip(*found))
        return distance / self.side, self.train_labels[index]

    @cached_property
    def limit(self) -> float:
        """The distance up to which a picture is like a digit: 95 % of the held-out digits are that near to a training
        digit."""
        return float(self.nearest(self.test)[0].quantile(0.95))


def read_digits(seed: int = 0) -> Digits:
    """The 1797 digits of scikit-learn, split with the same fractions of the classes on both sides."""
    pixels, labels = load_digits(return_X_y=True)
    pictures = torch.tensor(pixels / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.25, random_state=seed, stratify=labels)
    return Digits(pictures[train], pictures[test], labels[train], labels[test])


def read_mnist(folder: Path, seed: int = 0) -> Digits:
    """10 000 training and 2500 test digits of MNIST, or as many as there are, from a folder as torchvision keeps it,
    into which they are downloaded if they aren't there.

    Raises `ImportError` without torchvision, and `RuntimeError` or `OSError` when it can't be downloaded.
    """
    from torchvision.datasets import MNIST

    parts = []
    for is_train, most in ((True, 10_000), (False, 2500)):
        try:
            data = MNIST(folder, train=is_train)
        except RuntimeError:  # it isn't there
            data = MNIST(folder, train=is_train, download=True)
        chosen = np.random.default_rng(seed).permutation(len(data.data))[:most]
        parts.append((data.data[chosen, None].float() / 255, data.targets[chosen].numpy()))
    (train, train_labels), (test, test_labels) = parts
    return Digits(train, test, train_labels, test_labels)


def cross_entropy(logits: Tensor, pictures: Tensor) -> Tensor:
    """BCE in nats a picture: summed over the pixels, averaged over the batch."""
    return F.binary_cross_entropy_with_logits(logits, pictures, reduction="sum") / len(pictures)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ Σ (μ² + σ² − 1 − log σ²) in nats a picture, averaged over the batch."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()


def train(digits: Digits, variational: bool, epochs: int, seed: int = 0, beta: float = 1.0) -> Network:
    """Train the network with BCE alone, or with BCE + β KL and every code drawn from its picture's Gaussian."""
    torch.manual_seed(seed)  # both start from the same weights
    network, batch = Network(variational, side=digits.side), 128
    optimizer = torch.optim.Adam(network.parameters())
    steps = epochs * -(-len(digits.train) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for epoch in range(1, epochs + 1):
        for chosen in torch.randperm(len(digits.train)).split(batch):
            pictures = digits.train[chosen]
            mean, log_variance = network.encode(pictures)
            if variational:
                codes = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
                loss = cross_entropy(network.decoder(codes), pictures) + beta * divergence(mean, log_variance)
            else:
                loss = cross_entropy(network.decoder(mean), pictures)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch in (1, epochs) or epoch % 10 == 0:
            print(f"{network.name:11}  epoch {epoch:3}/{epochs}  held-out BCE {held_out(network, digits):6.2f} nats")
    return network


@torch.no_grad()
def held_out(network: Network, digits: Digits) -> float:
    """BCE of the held-out digits, each decoded from the mean of its code."""
    return float(cross_entropy(network.decoder(network.encode(digits.test)[0]), digits.test))


def shown(classes: np.ndarray) -> float:
    """How many of the ten digits are shown, 1 to 10: the exponential of the entropy of their fractions."""
    fractions = np.bincount(classes, minlength=10) / len(classes)
    return float(np.exp(-sum(fraction * np.log(fraction) for fraction in fractions if fraction)))


@torch.no_grad()
def measure(network: Network, digits: Digits, draws: int = 5000) -> dict[str, float]:
    """The figures of one network; a plain autoencoder has no posterior: NaN for its KL, and its codes cover nothing."""
    (codes, log_variance), (test_codes, test_log_variance) = network.encode(digits.train), network.encode(digits.test)
    neighbors = KNeighborsClassifier(15).fit(codes.numpy(), digits.train_labels)
    normal = torch.randn(draws, 2, generator=torch.Generator().manual_seed(0))
    fitted = codes.mean(dim=0) + normal @ torch.linalg.cholesky(codes.T.cov()).T  # N(codes): of their mean and spread
    sigmas = ((normal[:, None] - codes) / torch.exp(log_variance / 2)).norm(dim=2).min(dim=1).values
    distance, classes = digits.nearest(network.pictures(normal))
    fitted_distance, fitted_classes = digits.nearest(network.pictures(fitted))
    return {
        "BCE, nats a picture": held_out(network, digits),
        "KL, nats a picture": float(divergence(test_codes, test_log_variance)) if network.variational else np.nan,
        "right class by 15 nearest codes, %": 100 * float(neighbors.score(test_codes.numpy(), digits.test_labels)),
        "std of the codes, first axis": float(test_codes[:, 0].std()),
        "std of the codes, second axis": float(test_codes[:, 1].std()),
        "codes in the square [-2, 2]², %": 100 * float((test_codes.abs() <= SQUARE).all(dim=1).float().mean()),
        "draws of N(0, 1): within 1σ of a code, %": 100 * float((sigmas <= 1).float().mean()) * network.variational,
        "draws of N(0, 1): like a digit, %": 100 * float((distance <= digits.limit).float().mean()),
        "draws of N(0, 1): digits shown, of 10": shown(classes),
        "draws of N(codes): like a digit, %": 100 * float((fitted_distance <= digits.limit).float().mean()),
        "draws of N(codes): digits shown, of 10": shown(fitted_classes),
    }


def make_table(networks: Sequence[Network], figures: Sequence[dict[str, float]]) -> str:
    """One row a figure, one column a network."""
    rows = [" " * 42 + "".join(f"{network.name:>14}" for network in networks)]
    rows += [f"{name:42}" + "".join(f"{found[name]:14.2f}" for found in figures) for name in figures[0]]
    return "\n".join(rows).replace("nan", "  –") + "\n"


def box_around(center: Tensor, reach: float) -> Box:
    """A square box around a center (2,), `reach` being half its side."""
    x, y = center.tolist()
    return (x - reach, x + reach, y - reach, y + reach)


def centers(box: Box, count: int) -> Tensor:
    """The centers (count², 2) of the cells of a box, row by row from its top."""
    left, right, bottom, top = box
    steps = (torch.arange(count) + 0.5) / count
    return torch.cartesian_prod(top - (top - bottom) * steps, left + (right - left) * steps).flip(1)


def frame(axes: Axes, box: Box, title: str, color: str = "black") -> None:
    """Name a panel and its axes, show a box of the plane, and outline the square [-2, 2]²."""
    axes.add_patch(Rectangle((-SQUARE, -SQUARE), 2 * SQUARE, 2 * SQUARE, fill=False, ls="--", lw=2, color=color))
    axes.set(title=title, xlabel="first latent", ylabel="second latent", xlim=box[:2], ylim=box[2:], aspect="equal")
    axes.locator_params(nbins=5)


def draw_decoded(axes: Axes, network: Network, box: Box, tiles: int = 20) -> AxesImage:
    """A box of the plane, decoded at the centers of tiles × tiles cells."""
    pictures = F.pad(network.pictures(centers(box, tiles)), (1, 1, 1, 1))
    side = pictures.shape[-1]
    sheet = pictures.reshape(tiles, tiles, side, side).transpose(1, 2).reshape(side * tiles, side * tiles)
    return axes.imshow(sheet.numpy(), cmap="gray_r", vmin=0, vmax=1, extent=box)


def draw_trained(axes: Axes, codes: Tensor, log_variance: Tensor | None) -> None:
    """What a decoder was trained on: points, or Gaussians, as ellipses of one standard deviation."""
    if log_variance is None:
        x, y = codes.T.numpy()
        axes.scatter(x, y, s=5)
    else:
        widths, heights = 2 * torch.exp(log_variance / 2).T.numpy()
        ellipses = EllipseCollection(widths, heights, 0, offsets=codes.numpy(), alpha=0.07, lw=0, units="xy")
        ellipses.set_offset_transform(axes.transData)
        axes.add_collection(ellipses)


def draw_distance(axes: Axes, network: Network, digits: Digits, box: Box, cells: int = 120) -> AxesImage:
    """The distance of decoded pictures to the nearest training digit, with a line at the limit."""
    distance = digits.nearest(network.pictures(centers(box, cells)))[0].reshape(cells, cells).numpy()
    if distance.max() > digits.limit:
        axes.contour(distance, [digits.limit], extent=box, origin="upper", colors="cyan")
    return axes.imshow(distance, cmap="magma", vmin=0.05, vmax=0.3, extent=box)


@torch.no_grad()
def draw_latents(networks: Sequence[Network], digits: Digits, figures: Sequence[dict[str, float]]) -> Figure:
    """The held-out digits in the plane, by class, above the decoded square."""
    figure = Figure(figsize=(11.5, 11), dpi=110, layout="constrained")
    panels = figure.subplots(2, 2)
    for network, found, (above, below) in zip(networks, figures, panels.T):
        codes = network.encode(digits.test)[0]
        low, high = codes.amin(dim=0), codes.amax(dim=0)
        box = box_around((low + high) / 2, 0.54 * float((high - low).max()))
        points = above.scatter(*codes.T.numpy(), c=digits.test_labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=16)
        inside = found["codes in the square [-2, 2]², %"]
        frame(above, box, f"{network.name}: {inside:.0f} % of the held-out\ndigits lie in the square [-2, 2]²")
        square = box_around(torch.zeros(2), SQUARE)
        ink = draw_decoded(below, network, square)
        kinds = found["draws of N(0, 1): digits shown, of 10"]
        frame(below, square, f"the square, decoded: N(0, 1)\nshows {kinds:.1f} of the ten digits")
    figure.colorbar(points, ax=panels[0], ticks=range(10), label="digit", aspect=30)
    figure.colorbar(ink, ax=panels[1], label="ink", aspect=30)
    return figure


@torch.no_grad()
def draw_holes(networks: Sequence[Network], digits: Digits, figures: Sequence[dict[str, float]]) -> Figure:
    """For each network what its decoder was trained on, what it makes of the plane, how far that is from a digit."""
    figure = Figure(figsize=(18, 11), dpi=100, layout="constrained")
    panels = figure.subplots(2, 3)
    for network, found, (left, middle, right) in zip(networks, figures, panels):
        codes, log_variance = network.encode(digits.train)
        box = box_around(codes.mean(dim=0), 2.5 * float(codes.std(dim=0).max()))
        draw_trained(left, codes, log_variance if network.variational else None)
        ink = draw_decoded(middle, network, box)
        colors = draw_distance(right, network, digits, box)
        covered, near = found["draws of N(0, 1): within 1σ of a code, %"], found["draws of N(codes): like a digit, %"]
        trained = "Gaussians, here to 1σ:\nthey" if network.variational else "points,\nwhich"
        frame(left, box, f"{network.name}: trained on {trained} cover {covered:.0f} % of N(0, 1)")
        frame(middle, box, "the same part of the plane,\ndecoded", "tab:red")
        frame(right, box, f"like no digit: {100 - near:.1f} % of draws from\nthe Gaussian that fits the codes", "white")
    figure.colorbar(ink, ax=panels[:, 1], label="ink", aspect=40)
    bar = figure.colorbar(colors, ax=panels[:, 2], extend="max", aspect=40)
    bar.set_label(f"RMSE to the nearest training digit (line: {digits.limit:.2f}, the limit of what is like a digit)")
    bar.ax.axhline(digits.limit, color="cyan")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both networks, print the table and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("digits"), help="folder for the pictures")
    parser.add_argument("--data", choices=EPOCHS, default="digits", help="scikit-learn's digits, or MNIST (digits)")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="folder of MNIST (data)")
    parser.add_argument("--epochs", type=int, help="passes over the digits, for each network (80; MNIST: 20)")
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the KL term (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the weights and the noise (0)")
    options = parser.parse_args(arguments)
    if options.epochs is None:
        options.epochs = EPOCHS[options.data]
    if options.epochs < 1 or not 0 <= options.beta < float("inf") or not 0 <= options.seed < 2**32:
        parser.error("--epochs is 1 or more, --beta 0 or more, --seed between 0 and 4294967295.")
    if options.output_dir.exists() and not options.output_dir.is_dir():
        parser.error(f"--output_dir {options.output_dir} is a file; name a folder.")
    options.output_dir.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # a second one costs more than it saves with pictures this small
    matplotlib.rcParams["font.size"] = 13

    try:
        digits = read_mnist(options.data_dir, options.seed) if options.data == "mnist" else read_digits(options.seed)
    except ImportError as error:
        parser.error(f"--data mnist needs torchvision ({error}).")
    except (OSError, RuntimeError) as error:
        parser.error(f"MNIST is not in {options.data_dir} and can't be downloaded: {str(error).splitlines()[0]}")
    networks = [train(digits, kind, options.epochs, options.seed, options.beta) for kind in (False, True)]
    figures = [measure(network, digits) for network in networks]
    table = make_table(networks, figures)
    perfect = F.binary_cross_entropy(digits.test, digits.test, reduction="sum") / len(digits.test)
    print(f"\n{table}\nA perfect copy has a BCE of {perfect:.2f}: the entropy of the gray pixels.\n")
    (options.output_dir / "table.txt").write_text(table, encoding="utf-8")
    for name, draw in (("latents.png", draw_latents), ("holes.png", draw_holes)):
        draw(networks, digits, figures).savefig(options.output_dir / name, metadata={"Software": None})
        print(f"wrote {options.output_dir / name}")


if __name__ == "__main__":
    main()
