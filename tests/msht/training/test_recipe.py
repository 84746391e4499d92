from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msht.errors import InvalidInput
from msht.training.recipe import Recipe, flatten, read_recipe, recipe_as_yaml, recipe_from

LEAST = {"name": "least", "preprocessing": {"size": 64}}


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(LEAST))
    return path


def test_a_name_and_a_size_are_enough() -> None:
    recipe = recipe_from(LEAST, source="mine.yaml")
    assert recipe.preprocessing.size == 64
    assert recipe.classes == ("negative", "positive")


@pytest.mark.parametrize(
    ("data", "problem", "mend"),
    [
        (
            {"optimiser": {"learning_rate": 1}},
            "there is no setting 'optimiser.learning_rate'",
            "The settings there are name, lr",
        ),
        (
            {"optimiser": {"weight_decy": 1}},
            "there is no setting 'optimiser.weight_decy'",
            "Did you mean 'optimiser.weight_decay'?",
        ),
        ({"optimizer": {"lr": 1}}, "there is no setting 'optimizer'", "Did you mean 'optimiser'?"),
        (
            {"augmentation": {"bright": 1}},
            "there is no setting 'augmentation.bright'",
            "Did you mean 'augmentation.brightness'?",
        ),
        ({"preprocessing": {"size": 64, "sise": 3}}, "'preprocessing.sise'", "Did you mean 'preprocessing.size'?"),
        ({"training": {"epochs": 0}}, "training.epochs: Input should be greater than or equal to 1, found 0", "--set"),
        ({"training": {"precision": "fp8"}}, "training.precision: Input should be '32-true'", "--set"),
        ({"optimiser": {"name": "lion"}}, "found 'lion'", "--set"),
        ({"optimiser": {"lr": "fast"}}, "optimiser.lr: Input should be a valid number", "--set"),
        ({"optimiser": {"lr": float("nan")}}, "optimiser.lr: ", "--set"),
        ({"optimiser": {"lr": float("inf")}}, "optimiser.lr: ", "--set"),
        ({"preprocessing": {}}, "preprocessing.size: Field required", "--set"),
        ({"preprocessing": {"size": 64, "mean": [0, 0, 0]}}, "preprocessing: mean and std are given together", "--set"),
        ({"classes": ["benign", "malignant"]}, "classes: must be ['negative', 'positive']", "--set"),
        ({"classes": ["positive", "negative"]}, "classes: must be", "--set"),
        ({"decision": {"target_sensitivity": 1}}, "decision.target_sensitivity: Input should be less than 1", "--set"),
        ({"decision": {"quality_quantile": 0}}, "decision.quality_quantile: Input should be greater than 0", "--set"),
        (
            {"schedule": {"warmup_epochs": 15}},
            "schedule.warmup_epochs (15.0) leaves nothing of training.epochs (15)",
            "--set",
        ),
        ({"augmentation": None}, "augmentation: ", "--set"),
        ({"augmentation": {"name": ["paper"]}}, "augmentation.name: ", "Did you mean 'paper'?"),
        ({"augmentation": {"name": "strong-color"}}, "found 'strong-color'", "Did you mean 'strong-colour'?"),
        ({"augmentation": {"rotation": [float("nan"), 3]}}, "augmentation.rotation[0]: ", "--set"),
        ({"augmentation": {"scale": [1, float("inf")]}}, "augmentation.scale[1]: ", "--set"),
        ({"preprocessing": {"size": 64, "mean": [float("nan"), 0, 0]}}, "preprocessing.mean[0]: ", "--set"),
        ({"training": {"epochs": -3}}, "training.epochs: ", "--set"),
        ({"training": {"batch_size": 0}}, "training.batch_size: ", "--set"),
        ({"training": {"epochs": True}}, "training.epochs: must be a number, found True", "--set"),
        ({"training": {"selection": "inner"}}, "found 'inner'", "Did you mean 'inner-split'?"),
        ({"optimiser": {"name": "adamx"}}, "found 'adamx'", "Did you mean 'adam'?"),
        ({"decision": {"minimum_fields": 100000}}, "decision.minimum_fields: ", "--set"),
        ({"decision": {"operating_point": {"rul": 1}}}, "'decision.operating_point.rul'", "operating_point.rule'?"),
        ({"network": {"pretrained": [1]}}, "boolean; or Input should be a valid string, found [1]", "--set"),
        ({"network": {"options": {"num_classes": 3}}}, "'num_classes' cannot be set here", "--set"),
        ({"classes": ["a", "b", "c"]}, "classes: must be ['negative', 'positive']", "--set"),
        ({"training": {"accumulate": 64}}, "accumulate (64) is more than batch_size (32)", "--set"),
        ({"training": {"patience": 3}}, "patience needs data that choose the epoch", "--set"),
        ({"freezing": {"epochs": 3}}, "no parts to freeze", "--set"),
        ({"freezing": {"parts": ["a"], "epochs": 15}}, "freezing.epochs (15) never ends", "--set"),
        ({"optimiser": {"sam": 0.05}, "training": {"accumulate": 2}}, "cannot go with training.accumulate", "--set"),
        ({"optimiser": {"sam": 0.1}, "training": {"precision": "16-mixed"}}, "cannot go with training.prec", "--set"),
        ({"optimiser": {"layer_decay": 0.8, "decay_biases": True}}, "decay_biases asks for it", "--set"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_error_names_the_key_what_was_found_and_the_nearest_valid_one(
    data: dict[str, object], problem: str, mend: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        recipe_from({**LEAST, **data}, source="mine.yaml")
    assert caught.value.problem.startswith("mine.yaml: ")
    assert problem in caught.value.problem
    assert mend in caught.value.mend


def test_overrides_are_laid_over_the_file_in_order(recipe_file: Path) -> None:
    recipe = read_recipe(
        recipe_file,
        [
            "optimiser.lr=3e-5",
            "training.epochs=3",
            "training.epochs=4",
            "preprocessing.size=32",
            "network.pretrained=true",
            "network.options.embed_dim=64",
            "optimiser.gradient_clip=null",
            "augmentation.name=paper",
            "augmentation.hue=0",
        ],
    )
    assert recipe.optimiser.lr == 3e-5
    assert isinstance(recipe.optimiser.lr, float)
    assert recipe.training.epochs == 4
    assert recipe.preprocessing.size == 32
    assert recipe.network.pretrained is True
    assert recipe.network.options == {"embed_dim": 64}
    assert recipe.optimiser.gradient_clip is None
    assert (recipe.augmentation.hue, recipe.augmentation.brightness) == (0.0, 0.15)


def test_a_free_option_in_scientific_notation_is_a_number_too(recipe_file: Path) -> None:
    recipe = read_recipe(recipe_file, ["network.options.drop_path_rate=1e-1"])
    assert recipe.network.options["drop_path_rate"] == 0.1


def test_the_path_of_weights_stays_a_path(recipe_file: Path) -> None:
    assert read_recipe(recipe_file, ["network.pretrained=weights/a.safetensors"]).network.pretrained == (
        "weights/a.safetensors"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.lr", "is not of the form name=value"),
        ("optimiser..lr=3", "is no name"),
        (".=3", "is no name"),
        ("=3", "is not of the form name=value"),
        ("name.deeper=3", "'name' holds a value, not settings"),
        ("optimiser.lr=[1", "is not readable"),
        ("optimiser.rate=3", "there is no setting 'optimiser.rate'"),
        ("nonsense.rate=3", "there is no setting 'nonsense'"),
    ],
)
def test_an_override_that_does_not_fit_is_one_sentence(recipe_file: Path, override: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message.replace("[", r"\[")):
        read_recipe(recipe_file, [override])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: [", "is not readable YAML"),
        (b"\xff\xfe", "is not readable YAML"),
        (b"- a\n- b\n", "holds no settings"),
        (b"", "holds no settings"),
        (b"name: !!python/object/apply:os.system ['true']\n", "is not readable YAML"),
        (b"1: 2\nname: x\npreprocessing: {size: 64}\n", "mine.yaml"),
    ],
    ids=["cut", "not UTF-8", "list", "empty", "code", "number as a key"],
)
def test_a_file_that_is_no_recipe_is_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(InvalidInput, match=message) as caught:
        read_recipe(tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="There is no recipe"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(InvalidInput, match="is not readable"):
        read_recipe(tmp_path)


# PyYAML takes some control characters for line breaks.
words = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], include_characters="\n")
recipes = st.fixed_dictionaries(
    {
        "name": st.text(words, min_size=1, max_size=10),
        "preprocessing": st.fixed_dictionaries(
            {"size": st.integers(8, 512)}, optional={"crop": st.none() | st.just(700)}
        ),
    },
    optional={
        "notes": st.text(words, max_size=20),
        "seed": st.integers(0, 2**31),
        "augmentation": st.fixed_dictionaries(
            {"name": st.sampled_from(["none", "paper", "standard", "strong-colour"])},
            optional={"hue": st.floats(0, 0.5)},
        ),
        "optimiser": st.fixed_dictionaries(
            {"lr": st.floats(1e-12, 1e3)}, optional={"name": st.sampled_from(["adam", "sgd"])}
        ),
        "training": st.fixed_dictionaries({"average_weights": st.none() | st.floats(0.01, 0.99)}),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipes)
def test_a_recipe_as_resolved_reads_back_the_same(tmp_path: Path, data: dict[str, object]) -> None:
    recipe = recipe_from(data, source="drawn")
    (tmp_path / "resolved.yaml").write_text(recipe_as_yaml(recipe), encoding="utf-8")
    assert read_recipe(tmp_path / "resolved.yaml") == recipe


def test_the_resolved_recipe_spells_out_every_default() -> None:
    resolved = yaml.safe_load(recipe_as_yaml(recipe_from(LEAST, source="x")))
    assert set(resolved) == set(Recipe.model_fields)
    assert resolved["training"]["selection"] == "last"
    assert resolved["augmentation"]["rotation"] == [0.0, 0.0]


def test_a_recipe_cannot_be_changed_once_made() -> None:
    recipe = recipe_from(LEAST, source="x")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3


def test_nested_settings_become_dotted_names() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": {}}) == {"a.b.c": 1, "a.d": [2], "e": {}}
