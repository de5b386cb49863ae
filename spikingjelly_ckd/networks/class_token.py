"""The last block of a ViT, for its class token alone.

A ViT that classifies from its class token throws the other tokens of its last block away. Keys and values need all of
them; the query, the projection and the MLP need one.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["has_one_token", "keep_class_token"]

_ATTENTION = {"qkv", "q_norm", "k_norm", "attn_drop", "norm", "proj", "proj_drop"}
_TIMM_BLOCK = {"norm1", "attn", "ls1", "drop_path1", "norm2", "mlp", "ls2", "drop_path2"}
_TORCHVISION_BLOCK = {"ln_1", "self_attention", "dropout", "ln_2", "mlp"}


def keep_class_token(network: nn.Module) -> int:
    """Let the last block of each ViT in ``network`` return its class token alone, in place.

    Known are ``VisionTransformer`` of timm (class token, plain blocks) and of torchvision, themselves and not what is
    derived from them. Paths and parameters stay; what is behind the block's first norm now has one token. For ``eval``:
    dropout is left out.

    Args:
        network: holds the ViT, or is it.

    Returns:
        How many blocks were changed; 0 where nothing is known.

    Example:
        >>> import torch
        >>> from timm.models import VisionTransformer
        >>> vit = VisionTransformer(8, 4, num_classes=5, embed_dim=16, depth=2, num_heads=2).eval()
        >>> images = torch.rand(2, 3, 8, 8)
        >>> before = vit(images)
        >>> keep_class_token(vit)
        1
        >>> torch.allclose(vit(images), before, atol=1e-6)
        True
    """
    changed = 0
    for vit in [module for module in network.modules() if type(module).__name__ == "VisionTransformer"]:
        source = type(vit).__module__.partition(".")[0]
        if source == "timm" and getattr(vit, "global_pool", None) == "token" and getattr(vit, "attn_pool", 0) is None:
            blocks = cast(nn.Sequential, vit.blocks)
            known = _is(blocks[-1], "Block", _TIMM_BLOCK) and _is_plain(blocks[-1].get_submodule("attn"))
            kind: type[_OneToken] = _OneTokenBlock
        elif source == "torchvision":
            blocks = cast(nn.Sequential, vit.get_submodule("encoder.layers"))
            known = _is(blocks[-1], "EncoderBlock", _TORCHVISION_BLOCK)
            kind = _OneTokenEncoderBlock
        else:
            continue
        if known:
            blocks[-1] = kind(blocks[-1])
            changed += 1
    return changed


def has_one_token(module: nn.Module) -> bool:
    """Whether ``module`` is a block that :func:`keep_class_token` has put in place.

    Args:
        module: one block.
    """
    return isinstance(module, _OneToken)


def _is(module: nn.Module, name: str, children: set[str]) -> bool:
    """Of that class, and with nothing that its forward here would leave out: other children, tensors, hooks."""
    own = module._parameters or module._buffers or module._forward_hooks or module._forward_pre_hooks
    return type(module).__name__ == name and {name for name, _ in module.named_children()} <= children and not own


def _is_plain(attention: nn.Module) -> bool:
    """Whether it is timm's ``Attention`` with a plain linear ``qkv``, which is used by its weights."""
    qkv = getattr(attention, "qkv", None)
    if type(qkv) is not nn.Linear or qkv._forward_hooks or qkv._forward_pre_hooks:
        return False
    return _is(attention, "Attention", _ATTENTION)


class _OneToken(nn.Module):
    """Takes the children of a module over under their names, so that paths and parameters stay."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self._modules.update(whole._modules)
        self.training = whole.training


class _OneTokenAttention(_OneToken):
    """timm's ``Attention`` with one query: ``[N, L, D] -> [N, 1, D]``."""

    qkv: nn.Linear
    q_norm: nn.Module
    k_norm: nn.Module
    norm: nn.Module
    proj: nn.Module

    def __init__(self, attention: nn.Module) -> None:
        super().__init__(attention)
        self.heads = cast(int, attention.num_heads)

    def forward(self, tokens: Tensor) -> Tensor:
        weight, bias = self.qkv.weight, self.qkv.bias
        width = len(weight) // 3  # of the queries; keys and values follow
        biases = (None, None) if bias is None else (bias[:width], bias[width:])
        queries = F.linear(tokens[:, :1], weight[:width], biases[0])
        keys, values = F.linear(tokens, weight[width:], biases[1]).chunk(2, -1)
        queries, keys, values = (self._by_head(x) for x in (queries, keys, values))
        heard = F.scaled_dot_product_attention(self.q_norm(queries), self.k_norm(keys), values)
        return cast(Tensor, self.proj(self.norm(heard.transpose(1, 2).flatten(2))))

    def _by_head(self, x: Tensor) -> Tensor:
        """``[N, L, D] -> [N, heads, L, D / heads]``."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class _OneTokenBlock(_OneToken):
    """timm's ``Block``: ``[N, L, D] -> [N, 1, D]``."""

    norm1: nn.Module
    ls1: nn.Module
    norm2: nn.Module
    mlp: nn.Module
    ls2: nn.Module

    def __init__(self, block: nn.Module) -> None:
        super().__init__(block)
        self.attn = _OneTokenAttention(block.get_submodule("attn"))

    def forward(self, tokens: Tensor) -> Tensor:
        first = tokens[:, :1] + self.ls1(self.attn(self.norm1(tokens)))
        return cast(Tensor, first + self.ls2(self.mlp(self.norm2(first))))


class _OneTokenEncoderBlock(_OneToken):
    """torchvision's ``EncoderBlock``: ``[N, L, D] -> [N, 1, D]``."""

    ln_1: nn.Module
    self_attention: nn.Module
    ln_2: nn.Module
    mlp: nn.Module

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.ln_1(tokens)
        heard, _ = self.self_attention(normed[:, :1], normed, normed, need_weights=False)
        first = tokens[:, :1] + heard
        return cast(Tensor, first + self.mlp(self.ln_2(first)))
