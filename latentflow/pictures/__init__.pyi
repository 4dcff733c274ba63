from .files import Picture as Picture
from .files import fit as fit
from .files import read_image as read_image
from .files import to_tensor as to_tensor
from .reader import Notes as Notes
from .reader import Reader as Reader
