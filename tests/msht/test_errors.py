import pytest

from msht.errors import BrokenBundle, InvalidInput, MissingResource, UnreadableImage


def test_an_error_says_what_is_wrong_and_then_how_to_mend_it() -> None:
    error = InvalidInput("labels.csv, row 17: label 'x' is unknown. ", "Mend the table. ")
    assert str(error) == "labels.csv, row 17: label 'x' is unknown. Mend the table."
    assert error.problem == "labels.csv, row 17: label 'x' is unknown."
    assert error.mend == "Mend the table."


def test_an_error_without_a_mend_ends_with_the_problem() -> None:
    assert str(InvalidInput("It is broken.")) == "It is broken."


@pytest.mark.parametrize("kind", [UnreadableImage, BrokenBundle, MissingResource])
def test_every_kind_is_caught_as_invalid_input_and_as_value_error(kind: type[InvalidInput]) -> None:
    with pytest.raises(InvalidInput, match="here"):
        raise kind("Something is wrong here.")
    assert issubclass(kind, ValueError)
