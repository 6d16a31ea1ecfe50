"""Published checkpoints in and out: MedCoSS, Uni-Perceiver."""

from medcoss.models.published_names import our_name, published_encoder_name, published_name

__all__ = ["our_name", "published_encoder_name", "published_name"]
