"""elastix (Klein et al.), from itk-elastix: affine, then B-splines, mutual information."""

from __future__ import annotations

from typing import Any

PACKAGES = ("itk-elastix",)
MODULES = ("itk",)
SETTINGS = {
    "default": "its affine and B-spline maps, grid of 8 mm, 500 iterations",
    "slow": "the same with a grid of 6 mm and 2000 iterations",
}
_GRID_AND_ITERATIONS = {"default": ("8", "500"), "slow": ("6", "2000")}


def prepare(case: Any) -> Any:
    """Read the images and the maps of parameters."""
    import itk

    # Not as the option `number_of_threads`, with which version 0.25.4 ends in a segmentation fault.
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(case.threads)
    parameters = itk.ParameterObject.New()
    grid, iterations = _GRID_AND_ITERATIONS[case.setting]
    for kind in ("affine", "bspline") if case.affine else ("bspline",):
        table = parameters.GetDefaultParameterMap(kind)
        table["MaximumNumberOfIterations"] = [iterations]
        if kind == "bspline":
            table["FinalGridSpacingInPhysicalUnits"] = [grid]
        # Otherwise the number of threads changes which samples are drawn.
        table["RandomSeed"] = ["1"]
        parameters.AddParameterMap(table)
    return case, parameters, itk.imread(case.fixed, itk.F), itk.imread(case.moving, itk.F)


def register(prepared: Any) -> Any:
    """Register."""
    import itk

    _, parameters, fixed, moving = prepared
    options = {"parameter_object": parameters, "log_to_console": False}
    return itk.elastix_registration_method(fixed, moving, **options)[1]


def save(prepared: Any, result: Any, path: str) -> None:
    """Write the displacement of all steps."""
    import itk

    itk.imwrite(itk.transformix_deformation_field(prepared[3], result), f"{path}.nii.gz")
