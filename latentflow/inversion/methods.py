"""The methods by name: which optimizers each knows, and how far each moves when it isn't told."""

from latentflow.errors import InputError

GRADIENT_OPTIMIZERS = ("adam", "adamw", "sgd", "lbfgs")
OPTIMIZERS = {  # the first is the default
    "gradient": GRADIENT_OPTIMIZERS,
    "gradient_free": ("km", "inertial_km", "adam"),
    "hybrid": GRADIENT_OPTIMIZERS,
}
INERTIA = 0.5  # of inertial_km
_LEFT = 0.01  # of the way, after the last step of a gradient-free road
_FARTHEST = 3.0  # that a value of unit variance has to go


def settle(method: str, optimizer: str | None, lr: float | None, steps: int) -> tuple[str, float]:
    """The optimizer and the rate of a run: those that were asked for, or the method's own.

    A gradient-free road without a rate of its own takes one under which `steps` steps go 99 % of the way, as
    (1 − lr)^steps = 0.01 does where nothing bends it, so that there is something to see in all of them. Raises
    `InputError` for a method there isn't and for an optimizer it doesn't know.
    """
    if method not in OPTIMIZERS:
        raise InputError(f"There is no method {method!r}.", f"Methods: {', '.join(OPTIMIZERS)}.")
    optimizer = optimizer or OPTIMIZERS[method][0]
    if optimizer not in OPTIMIZERS[method]:
        raise InputError(
            f"--optimizer {optimizer} is not for --method {method}.",
            f"It takes one of {', '.join(OPTIMIZERS[method])}.",
        )
    if lr is not None:
        return optimizer, lr
    if method != "gradient_free":
        return optimizer, 0.1 if method == "gradient" else 0.04
    if optimizer == "adam":
        return optimizer, _FARTHEST / steps
    share = 1 - _LEFT ** (1 / steps)
    return optimizer, share if optimizer == "km" else share * (1 - INERTIA)
