"""Every described operation: its public functions, and what holds of all of them.

The functions' names, order of arguments and docstrings are those of the roles; the results are
those of the definition; inputs stay as they are; in place is not another result.
"""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

import normdrop as nd
from cases import HALF_TYPES
from comparing import assert_near_reference, assert_same_bits, fence
from described import DESCRIBED, FUNCTIONS
from good_calls import Case, cases, get
from normdrop import _core, reference
from tolerances import PERTURBATION

CASES = cases(short=True)
WITH_PARAMETERS = [case for case in CASES if case.function.arrays("parameter")]
WITH_OUT = [case for case in CASES if case.function.out]
ONE_FOR_ALL = [case for case in CASES if any(role.one_for_all for role in case.function.roles)]


@pytest.fixture(params=CASES, ids=str)
def case(request) -> Case:
    """Every function with every geometry of its kind."""
    return request.param


# What is public ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_signature_is_that_of_the_roles(name):
    """Names and order; what comes by keyword; and what may be left out."""
    function = FUNCTIONS[name]
    parameters = inspect.signature(function.call).parameters
    assert list(parameters) == function.signature
    kinds = inspect.Parameter
    keywords = [key for key, value in parameters.items() if value.kind is kinds.KEYWORD_ONLY]
    assert keywords == function.keywords
    for role in function.passed("leader", "like", "parameter", "running", "statistics"):
        default = parameters[role.name.partition(".")[0]].default
        assert default is (None if role.optional else kinds.empty), role.name
    if function.out:
        assert parameters["out"].default is None


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_definition_has_the_same_arguments(name):
    """But for where to write."""
    function = FUNCTIONS[name]
    parameters = inspect.signature(function.reference).parameters
    assert list(parameters) == [key for key in function.signature if key != "out"]
    ours = inspect.signature(function.call).parameters
    for key, one in parameters.items():
        assert one.kind is ours[key].kind and one.default == ours[key].default, key


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_docstring_names_every_argument_once(name):
    text = inspect.getdoc(FUNCTIONS[name].call) or ""
    section = re.search(r"\nParameters\n-+\n(.*?)\n\n(?=\S+\n-+\n)", text, re.DOTALL)
    assert section, "a section Parameters, and one behind it"
    heads = [line.partition(" : ")[0] for line in section[1].splitlines() if line[:1].strip()]
    named = [key for head in heads for key in head.split(", ")]
    assert sorted(named) == sorted(FUNCTIONS[name].signature)


def test_every_function_is_public_and_defined():
    for name in FUNCTIONS:
        assert name in nd.__all__ and name in reference.__all__


def test_descriptions_are_a_copy():
    """What a caller does to them is not seen by the next one."""
    _core.operations()[0]["roles"].clear()
    assert _core.operations()[0]["roles"]


def test_an_unknown_role_would_be_seen():
    """Every role is one that the calls of the tests know how to fill."""
    for one in DESCRIBED:
        for role in one["roles"]:
            assert role["role"] in KNOWN_ROLES, f"{role['name']} of {one['name']}"


KNOWN_ROLES = {
    "leader", "like", "parameter", "statistic", "statistics", "running", "axes", "channel_axis",
    "number_of_groups", "epsilon", "flag", "wanted", "count_of_statistics", "draw", "result",
    "new_result", "new_statistic", "gradient", "new_count", "probability", "random_source", "mask",
    "shared_axes",
}  # fmt: skip


# Results -----------------------------------------------------------------------------------------


def test_results_are_those_of_the_definition(case, dtype, backend, unchanged):
    arguments = case.arguments(dtype)
    unchanged(*arrays_of(case, arguments))
    returned = case.function.call(**arguments)
    assert_near_reference(case, arguments, returned)
    for one in case.function.results(returned, arguments):
        expected = {"result": (case.shape, dtype), "new_result": (case.shape, dtype),
                    "new_statistic": (case.statistic_shape, np.float64),
                    "gradient": (case.parameter_shape, dtype)}.get(one.role)  # fmt: skip
        if expected is not None:
            assert (one.array.shape, one.array.dtype) == (expected[0], np.dtype(expected[1]))


def arrays_of(case: Case, arguments):
    return [get(arguments, name) for name in case.function.arrays()]


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("case", WITH_PARAMETERS, ids=str)
def test_float32_parameters_beside_half_types(case, dtype, backend):
    arguments = case.arguments(dtype, np.float32)
    returned = case.function.call(**arguments)
    assert_near_reference(case, arguments, returned)
    for one in case.function.results(returned, arguments):
        assert one.role != "gradient" or one.array.dtype == np.float32


def test_arguments_that_may_be_left_out(case, backend):
    """Each of them alone, and all; gradients that are not wanted are None."""
    arguments = case.arguments(np.float32)
    optional = [role for role in case.function.passed() if role.optional or role.role == "wanted"]
    chosen = [[role] for role in optional] + [optional]
    for roles in chosen:
        fewer = dict(arguments)
        for role in roles:
            fewer[role.name] = False if role.role == "wanted" else None
        returned = case.function.call(**fewer)
        assert_near_reference(case, fewer, returned)


def test_a_perturbed_result_is_rejected(case, dtype, backend):
    """One element of one result, by a few times the limit."""
    arguments = case.arguments(dtype)
    results = case.function.results(case.function.call(**arguments), arguments)
    for one in results:
        if not isinstance(one.array, np.ndarray):
            continue
        before = one.array.ravel()[-1]
        scale = np.abs(one.array.astype(np.float64)).max()
        off = PERTURBATION * fence(case, arguments, one) * scale
        one.array.reshape(-1)[-1] += one.array.dtype.type(off)
        with pytest.raises(AssertionError, match=one.name):
            assert_near_reference(case, arguments, tuple(each.array for each in results))
        one.array.reshape(-1)[-1] = before


@pytest.mark.parametrize("case", WITH_OUT, ids=str)
def test_in_place_gives_the_same_bits(case, dtype, backend):
    arguments = case.arguments(dtype)
    expected = case.function.call(**arguments)
    own = get(arguments, case.function.out.may_be)
    got = case.function.call(**arguments, out=own)
    assert case.function.results(got, arguments)[0].array is own
    assert_same_bits(got, expected)


# (shape, axis, groups) without elements, and sets of none or one.
EMPTY = {
    "over_axes": [((0, 11), -1), ((5, 0), -1), ((0, 0), -1), ((3, 0, 5), 1), ((3, 5, 0), 1),
                  ((5, 1), -1)],
    "per_channel": [((0, 11), 1), ((5, 0), 1), ((0, 0), 1), ((3, 5, 0), 1), ((1, 5), 1)],
    "channel_groups": [((0, 6), 1, 3), ((5, 6, 0), 1, 2), ((0, 6, 0), 1, 2), ((3, 2, 1), 1, 2)],
    "elements": [((0,),), ((5, 0),), ((1,),)],
}  # fmt: skip


@pytest.mark.parametrize("case", cases(EMPTY, short=True), ids=str)
def test_sets_of_no_value_and_of_one(case, dtype, backend):
    arguments = case.arguments(dtype)
    if case.values_of_a_set < case.function.least_values:
        with pytest.raises(ValueError, match=f"{case.function}: .* at least .* got"):
            case.function.call(**arguments)
        return
    assert_near_reference(case, arguments, case.function.call(**arguments))
    if case.function.out is not None:
        out = np.empty(case.shape, dtype)
        assert (
            case.function.results(case.function.call(**arguments, out=out), arguments)[0].array
            is out
        )


@pytest.mark.parametrize("case", ONE_FOR_ALL, ids=str)
def test_one_value_for_all_channels(case, dtype, backend):
    arguments = case.arguments(dtype)
    for role in case.function.passed("parameter"):
        arguments[role.name] = arguments[role.name][:1].copy()
    returned = case.function.call(**arguments)
    assert_near_reference(case, arguments, returned)
    for one in case.function.results(returned, arguments):
        assert one.role != "gradient" or one.array.shape == (1,)
