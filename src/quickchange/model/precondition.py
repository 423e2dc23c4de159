"""Per-channel preconditioning of a velocity network (Karras et al. 2022, section 5, carried over to flow matching).

Latent channels differ in spread by more than ten times. The network sees inputs of unit variance and predicts a
correction of unit variance to the best linear guess of the velocity: ``v = c_skip x_t - c_out F(c_in x_t)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Preconditioner:
    """The three coefficients at given noise levels, each broadcastable to [B, C, F, H, W].

    Attributes:
        c_in: factor of the network's input.
        c_skip: factor of the noisy latents in the velocity.
        c_out: factor of the network's output in the velocity.
    """

    c_in: Tensor
    c_skip: Tensor
    c_out: Tensor

    @staticmethod
    def at(level_BF: Tensor, std_C111: Tensor) -> Preconditioner:
        """Compute the coefficients.

        Args:
            level_BF: noise levels in [0, 1], one per latent frame.
            std_C111: standard deviation of every latent channel, > 0.
        """
        level = level_BF[:, None, :, None, None]
        variance = ((1 - level) * std_C111) ** 2 + level**2
        scale = variance.rsqrt()
        return Preconditioner(scale, (level - (1 - level) * std_C111**2) / variance, std_C111 * scale)

    def velocity(self, x_BCFHW: Tensor, out_BCFHW: Tensor) -> Tensor:
        """Combine noisy latents and the network's output into the velocity, float32."""
        return x_BCFHW * self.c_skip - out_BCFHW.float() * self.c_out
