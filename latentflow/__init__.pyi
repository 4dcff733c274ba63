# The public names of the package itself, one line each: the only list there is. Importing one imports its module, on
# first use. The others are in the rooms, each with its list in an `__init__.pyi`.
from . import latents as latents
from . import pictures as pictures
from . import sinks as sinks
from . import sound as sound
from . import views as views
from .base.errors import LatentflowError as LatentflowError
from .base.errors import InputError as InputError
from .base.errors import FormatVersionError as FormatVersionError
from .base.errors import MissingPackageError as MissingPackageError
from .base.errors import WeightsError as WeightsError
from .base.errors import DivergedError as DivergedError
from .base.errors import OutputError as OutputError
from .base.errors import OutOfMemoryError as OutOfMemoryError
from .base.errors import Interrupted as Interrupted
from .base.session import Session as Session
from .models.autoencoder import Autoencoder as Autoencoder
from .models.autoencoder import LatentGeometry as LatentGeometry
from .models.autoencoder import load_autoencoder as load_autoencoder
from .pictures.files import read_image as read_image
from .pictures.files import fit as fit
from .pictures.files import to_tensor as to_tensor
from .inversion.invert import invert as invert
from .inversion.invert import Run as Run
from .inversion.invert import Result as Result
from .inversion.metrics import image_metrics as image_metrics
from .inversion.metrics import encoder_metrics as encoder_metrics
from .inversion.objective import Objective as Objective
from .inversion.optimize import optimize as optimize
from .latents.sources import initial_latent as initial_latent
from .runs.compare import compare as compare
from .base.records import Step as Step
from .base.records import Frame as Frame
from .sinks.sink import Sink as Sink
from .sinks.sink import EveryNth as EveryNth
from .sinks.sink import run_sinks as run_sinks
from .sinks.frames import open_frames as open_frames
from .explore.in_memory import walk as walk
from .explore.in_memory import evaluate as evaluate
from .latents.index import encode_folder as encode_folder
from .latents.decode import decode_frames as decode_frames
from .latents.files import save_latent as save_latent
from .latents.files import load_latent as load_latent
from .page.export.run import export_onnx as export_onnx
from .app.run import launch_app as launch_app

__version__: str
