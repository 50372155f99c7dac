"""What the reader of docs/compression.md has: how answers through two levels agree with the whole model's."""

import numpy

agrees = numpy.ones((2, 400), bool)
agrees[0, :40] = False
