"""What metrics compute with, whatever the model: functions of points and images, features of images.

Knows arrays, tensors and prepared data sets, nothing of the models that are measured or of declarations.
"""
