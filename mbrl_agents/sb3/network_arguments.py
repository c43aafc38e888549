"""``policy_kwargs``: what is allowed, what it makes of networks and optimisers, and how it is written to a file."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mbrl_agents.core import encoders, networks
from mbrl_agents.core.compilation import by_usual_rules
from mbrl_agents.core.encoders import CombinedExtractor, Extractor, GridCNN, NatureCNN
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import Optimizer
from mbrl_agents.sb3.arguments import Rule
from mbrl_agents.sb3.settings import dictionary
from mbrl_envs.checks import boolean, integer_in

FLATTEN, COMBINED = "FlattenExtractor", "CombinedExtractor"
_CNNS: dict[str, type[NatureCNN | GridCNN]] = {"NatureCNN": NatureCNN, "GridCNN": GridCNN}
EXTRACTORS = (FLATTEN, *_CNNS, COMBINED)
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {  # with PyTorch's numbers, as SB3's users expect
    "adam": optax.adam,
    "adamw": functools.partial(optax.adamw, weight_decay=1e-2),
    "adagrad": functools.partial(optax.adagrad, initial_accumulator_value=0.0, eps=1e-10),
    "rmsprop": functools.partial(optax.rmsprop, decay=0.99, eps=1e-8, eps_in_sqrt=False),
    "rmsproptflike": functools.partial(optax.rmsprop, decay=0.99, eps=1e-8, initial_scale=1.0),
    "sgd": optax.sgd,
}
_OF_EXTRACTORS = ("features_extractor_class", "features_extractor_kwargs", "normalize_images")
_OF_OPTIMIZERS = ("optimizer_class", "optimizer_kwargs")
_IMPORT = "import"  # what a class or function is called in a file


def policy_kwargs(net_arch: list[int], activation_fn: str, networks_of: str, *, extractors: bool = True) -> Rule:
    """Networks, which by default have these hidden layers.

    In plain form, hidden layers and activation are always there, all else if it is not as by default.

    Args:
        net_arch: Hidden layers by default.
        activation_fn: Their activation function by default.
        networks_of: Which networks these are.
        extractors: Whether networks may have a features extractor.
    """
    default = {"net_arch": net_arch, "activation_fn": activation_fn}
    more = ("layer_norm", *_OF_OPTIMIZERS, *(_OF_EXTRACTORS if extractors else ()))

    def check(name: str, value: Any) -> dict[str, Any]:
        given = dictionary(name, value, default)
        if unknown := sorted(set(given) - {*default, *more}):
            known = ", ".join(map(repr, (*default, *more)))
            raise TypeError(f"{name} has no {', '.join(map(repr, unknown))}; it has {known}")
        given = default | given
        plain = {
            "net_arch": list(networks.check_net_arch(given["net_arch"])),
            "activation_fn": networks.activation_name(given["activation_fn"]),
        }
        found = {key: _CHECKS[key](f"{name}: {key}", given[key]) for key in more if key in given}
        return plain | {key: each for key, each in found.items() if each != _DEFAULTS[key]}

    what = f'``{{"net_arch": {net_arch}, "activation_fn": "{activation_fn}"}}`` or a part of it, for {networks_of}'
    return Rule(check, f"{what}; besides {', '.join(f'``{each}``' for each in more)}: see the README of ``mbrl_agents``.")


def _extractor_class(name: str, value: Any) -> Any:
    if isinstance(value, type) and issubclass(value, nn.Module):
        return value
    named = value if isinstance(value, str) else getattr(value, "__name__", None)  # SB3's own classes go by their names
    if named not in EXTRACTORS or not isinstance(value, (str, type)):
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, EXTRACTORS))} or a class of flax.linen modules, got {value!r}"
        )
    return named


def _optimizer_class(name: str, value: Any) -> Any:
    named = value if isinstance(value, str) else getattr(value, "__name__", "") if isinstance(value, type) else ""
    if named.lower() in OPTIMIZERS:  # PyTorch's classes go by their names
        return named.lower()
    if isinstance(value, (str, type)) or not callable(value):
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, OPTIMIZERS))} or a function from a learning rate to an "
            f"optax.GradientTransformation, got {value!r}"
        )
    return value


def _options(name: str, value: Any) -> dict[str, Any]:
    given = dictionary(name, value, {"features_dim": 256} if "extractor" in name else {"eps": 1e-5})
    if not all(isinstance(key, str) for key in given):
        raise TypeError(f"{name} must have names of arguments as keys, got {given!r}")
    return _lists(given)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "features_extractor_class": lambda name, value: None if value is None else _extractor_class(name, value),
    "features_extractor_kwargs": _options,
    "normalize_images": boolean,
    "layer_norm": boolean,
    "optimizer_class": lambda name, value: None if value is None else _optimizer_class(name, value),
    "optimizer_kwargs": _options,
}
_DEFAULTS: dict[str, Any] = {
    "features_extractor_class": None,
    "features_extractor_kwargs": {},
    "normalize_images": True,
    "layer_norm": False,
    "optimizer_class": None,
    "optimizer_kwargs": {},
}


# ---------------------------------------------------------------------- what is made of them


def make_optimizer(given: Mapping[str, Any]) -> Optimizer:
    """The optimiser that checked ``policy_kwargs`` ask for; with ``optimizer_kwargs`` alone it is Adam, as SB3's.

    Raises:
        TypeError, ValueError: It does not take these arguments, or is none.
    """
    chosen, options = (given.get(name) for name in _OF_OPTIMIZERS)
    if chosen is None and not options:
        return Optimizer()
    options = options or {}
    if chosen is None or isinstance(chosen, str):
        make, options = OPTIMIZERS[chosen or "adam"], _as_optax(options)
    else:
        make = chosen
    options = _tuples(options)
    try:
        made = make(0.0, **options)
    except TypeError as error:
        raise TypeError(f"policy_kwargs: optimizer_class {chosen!r} cannot be made with {options}: {error}") from error
    if not isinstance(made, optax.GradientTransformation):
        raise ValueError(f"policy_kwargs: optimizer_class must make an optax.GradientTransformation, got {made!r}")
    return Optimizer(make, tuple(options.items()))


def _as_optax(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an optimiser by optax's names, where they have PyTorch's."""
    given = dict(options)
    if "betas" in given:
        given["b1"], given["b2"] = given.pop("betas")
    if "alpha" in given:
        given["decay"] = given.pop("alpha")
    return given


def make_encoder(policy: str, given: Mapping[str, Any], codec: ObservationCodec) -> nn.Module | None:
    """The encoder of a policy's networks; None if they read the features as they are.

    Args:
        policy: Name of the policy.
        given: Checked ``policy_kwargs``.
        codec: How observations are read.

    Raises:
        TypeError: A class does not take its arguments.
        ValueError: Policy or class do not go with the observations.
    """
    chosen, options = given.get("features_extractor_class"), _tuples(given.get("features_extractor_kwargs", {}))
    normalized = not given.get("normalize_images", True)
    if (policy == "MultiInputPolicy") != (codec.kind == "parts"):
        wanted = "MultiInputPolicy" if codec.kind == "parts" else "MlpPolicy or CnnPolicy"
        raise ValueError(f"policy must be {wanted} for observations of this kind, got {policy!r}")
    if normalized and any(part.kind == "bytes" for _, part in codec.leaves()):
        raise ValueError(
            "policy_kwargs: normalize_images must be True for images of bytes, which are divided by 255 in any case"
        )
    if chosen is None:
        by_policy = {"MlpPolicy": FLATTEN, "MultiInputPolicy": COMBINED}
        chosen = by_policy[policy] if policy in by_policy else _default_cnn(codec, normalized)
    if chosen == FLATTEN:
        if options:
            raise TypeError(f"policy_kwargs: features_extractor_kwargs must be empty for {FLATTEN!r}, got {options}")
        return None
    normalized = options.pop("normalized_image", normalized) if isinstance(chosen, str) else normalized
    if chosen == COMBINED:
        if codec.kind != "parts":
            raise ValueError(f"policy_kwargs: {COMBINED!r} reads dictionaries and tuples")
        has_images = any(encoders.is_image(part, normalized) for _, part in codec.leaves())
        module = _made(CombinedExtractor, options | {"codec": codec, "normalized_image": normalized})
        return _checked(module, codec) if has_images else None
    if isinstance(chosen, str):
        _check_image(chosen, codec)
    made = _made(_CNNS[chosen] if isinstance(chosen, str) else chosen, options)
    return _checked(Extractor(codec, made), codec)


def _default_cnn(codec: ObservationCodec, normalized: bool) -> str:
    """The class for an image or a grid.

    Raises:
        ValueError: Observations are neither.
    """
    if encoders.is_image(codec, normalized):
        return encoders.cnn_for(codec).__name__
    if encoders.is_image(codec, True) and codec.kind == "bits":
        return GridCNN.__name__
    if codec.kind == "bytes":
        return NatureCNN.__name__  # whose own message says what it does not fit
    raise ValueError(
        "CnnPolicy reads images (uint8 from 0 to 255 of three dimensions) and grids of booleans; for other numbers of three "
        f"dimensions give policy_kwargs={{'normalize_images': False}}. Observations are {codec.kind} of shape {codec.shape}"
    )


def _check_image(name: str, codec: ObservationCodec) -> None:
    least = {"NatureCNN": encoders.NATURE_SIZE, "GridCNN": encoders.GRID_SIZE}[name]
    if not encoders.is_image(codec, True) or encoders.size_of(codec) < least:
        raise ValueError(
            f"{name} reads observations of three dimensions, at least {least} high and {least} wide, got {codec.kind} of shape "
            f"{codec.shape}" + (": GridCNN reads smaller ones" if name == "NatureCNN" else "")
        )


def _made(cls: type[nn.Module], options: dict[str, Any]) -> nn.Module:
    for name in {"features_dim", "cnn_output_dim", "filters"} & set(options):
        if cls in (NatureCNN, GridCNN, CombinedExtractor):
            integer_in(f"policy_kwargs: features_extractor_kwargs: {name}", options[name], 1, networks.MAX_WIDTH)
    try:
        module = cls(**options)
        hash(module)
    except TypeError as error:
        raise TypeError(f"policy_kwargs: {cls.__name__} cannot be made with {options}: {error}") from error
    return module


def _checked(module: nn.Module, codec: ObservationCodec) -> nn.Module:
    """The module, if its outputs are vectors of numbers.

    Raises:
        ValueError: They are not.
    """
    # Raw keys and plain arrays: what is looked at are shapes.
    keys, features = jax.ShapeDtypeStruct((2,), jnp.uint32), jax.ShapeDtypeStruct((1, codec.num_features), jnp.float32)
    found, _ = jax.eval_shape(by_usual_rules(module.init_with_output), keys, features)
    shape = getattr(found, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != 1 or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(f"a features extractor must map n observations to floats (n, d), got {found} for one observation")
    return module


# ---------------------------------------------------------------------- files


def to_json(value: Any) -> Any:
    """Plain data for a file: classes and functions by where they are imported from."""
    if isinstance(value, Mapping):
        return {key: to_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(each) for each in value]
    if callable(value):
        owner = inspect.getmodule(value)
        name = getattr(value, "__qualname__", type(value).__qualname__)
        return {_IMPORT: f"{getattr(owner, '__name__', type(value).__module__)}:{name}"}
    return value


def from_json(saved: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """``policy_kwargs`` from a file, with what is given in the place of some. Nothing is imported that a file names.

    Raises:
        ValueError: A class or function has to be given, or is another one than the file names.
    """
    given = dictionary("policy_kwargs", given, {"net_arch": [64]})
    if wanted := {name: found for name, value in saved.items() if name not in given and (found := _imports(value))}:
        imported = ", ".join(name for found in wanted.values() for name in found)
        again = ", ".join(f"{name!r}: ..." for name in wanted)
        raise ValueError(
            f"policy_kwargs were saved with {imported}, which loading does not import: give them again, as "
            f"load(..., policy_kwargs={{{again}}})"
        )
    return dict(saved) | given


def _imports(saved: Any) -> list[str]:
    """Names in plain data that would have to be imported."""
    if isinstance(saved, Mapping):
        own = [saved[_IMPORT]] if isinstance(saved.get(_IMPORT), str) and len(saved) == 1 else []
        return own + [found for each in saved.values() for found in _imports(each)]
    return [found for each in saved for found in _imports(each)] if isinstance(saved, list) else []


def _lists(value: Any) -> Any:
    """Tuples as lists, as files have them."""
    if isinstance(value, Mapping):
        return {key: _lists(each) for key, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, (list, tuple)) else value


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as tuples, which modules can be told apart by."""

    def inner(each: Any) -> Any:
        if isinstance(each, Mapping):
            return {key: inner(part) for key, part in each.items()}
        return tuple(inner(part) for part in each) if isinstance(each, (list, tuple)) else each

    return {key: inner(each) for key, each in value.items()}
