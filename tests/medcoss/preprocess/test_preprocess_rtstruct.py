"""Outlines in mm become the voxels that they enclose, however the slices lie in the patient."""

import numpy as np

from medcoss.preprocess.rtstruct import rasterised
from tests.medcoss.preprocess.files import itk_image


def test_outlines_on_oblique_slices() -> None:
    rows, columns, normal = (0.8, 0.6, 0.0), (0.0, 0.0, -1.0), (-0.6, 0.8, 0.0)
    direction = np.array([rows, columns, normal]).T.ravel()
    image = itk_image(np.zeros((5, 20, 30), np.float32), (0.5, 0.7, 3.0), (10.0, -4.0, 6.0), tuple(direction))
    corners = [(4.5, 6.5), (12.5, 6.5), (12.5, 9.5), (4.5, 9.5)]
    contour = np.array([image.TransformContinuousIndexToPhysicalPoint((x, y, 3.0)) for x, y in corners])
    expected = np.zeros((5, 20, 30), np.uint8)
    expected[3, 7:10, 5:13] = 1
    assert np.array_equal(rasterised([contour], image, "a.dcm"), expected)
