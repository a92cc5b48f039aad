import numpy

print(numpy.arange(9).reshape(3, 3).trace())
