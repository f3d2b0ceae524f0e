"""Small networks in NumPy that show the layers at work on real data.

:mod:`~normdrop.experiments.network` holds the network, written to be read as the example of how
:mod:`normdrop.layers` is used; :mod:`~normdrop.experiments.data` the images;
:mod:`~normdrop.experiments.sigmoid_depth` the experiment that ``normdrop demo`` runs.
"""
