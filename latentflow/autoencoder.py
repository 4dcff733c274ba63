"""Where 0.1.0 had the autoencoder; code written for it still imports it from here."""

from latentflow.models.autoencoder import Autoencoder as Autoencoder
from latentflow.models.autoencoder import LatentGeometry as LatentGeometry
