"""A wrong setting stops the start with one line that names the variable."""

import pytest

from core.settings import KNOWN_DEFAULT_KEYS, SettingsError, read_settings

SOUND = {
    "api_key": "a-key-of-at-least-16-characters",
    "database_url": "postgresql://h/d",
    "redis_url": "redis://h/0",
}


def refusal(**overrides: object) -> str:
    with pytest.raises(SettingsError) as error:
        read_settings(**(SOUND | overrides))
    return str(error.value)


@pytest.mark.parametrize("key", [*sorted(KNOWN_DEFAULT_KEYS), "Change-Me", "fifteen-letters", " "])
def test_production_refuses_a_weak_key(key: str) -> None:
    assert refusal(app_env="production", api_key=key).startswith("API_KEY: ")


def test_production_refuses_an_empty_key_and_accepts_a_strong_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read_settings(**SOUND, app_env="production").app_env == "production"
    monkeypatch.delenv("API_KEY", raising=False)
    with pytest.raises(SettingsError, match=r"^API_KEY: is required$"):
        read_settings(**{k: v for k, v in SOUND.items() if k != "api_key"}, app_env="production")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "mysql://h/d"),
        ("redis_url", "http://h"),
        ("port", 0),
        ("rate_limit_per_minute", 0),
        ("chat_cost", "x"),
        ("log_level", "LOUD"),
        ("storage_url", "ftp://h"),
        ("chat_base_url", "h"),
        ("embedding_provider", "none"),
    ],
)
def test_a_wrong_value_is_one_line_without_the_value_s_neighbours(name: str, value: object) -> None:
    line = refusal(**{name: value})
    assert line.startswith(f"{name.upper()}: ")
    assert "\n" not in line
    assert SOUND["api_key"] not in line


def test_secrets_do_not_show() -> None:
    shown = repr(read_settings(**SOUND, openai_api_key="sk-canary", flower_password="canary"))
    assert "canary" not in shown
    assert SOUND["api_key"] not in shown


@pytest.mark.parametrize("name", ["openai_api_key", "chat_api_key", "embedding_api_key", "api_key"])
def test_a_key_is_stripped_of_its_line_end(name: str) -> None:
    settings = read_settings(**SOUND | {name: "sk-abc\r\n"})
    assert getattr(settings, name).get_secret_value() == "sk-abc"


@pytest.mark.parametrize(
    ("name", "path"), [("chat_base_url", "chat/completions"), ("embedding_base_url", "embeddings")]
)
def test_the_address_of_an_endpoint_serves_as_its_base(name: str, path: str) -> None:
    for given in ("http://h/v1", "http://h/v1/", f"http://h/v1/{path}", f"http://h/v1/{path}/"):
        assert getattr(read_settings(**SOUND, **{name: given}), name) == "http://h/v1"


@pytest.mark.parametrize("name", ["database_url", "redis_url", "chat_base_url", "chat_model"])
def test_white_space_around_a_value_is_not_part_of_it(name: str) -> None:
    value = SOUND.get(name, "http://h/v1")
    plain, padded = (read_settings(**SOUND | {name: text}) for text in (value, f" {value}\n"))
    assert getattr(padded, name) == getattr(plain, name)


@pytest.mark.parametrize("key", ["sk-abc\nX-Other: 1", "sk-ключ", "two words"])
def test_a_key_invalid_in_headers_stops_the_start_and_is_not_shown(key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(**SOUND, chat_api_key=key)
    assert str(caught.value) == "CHAT_API_KEY: has characters that no HTTP header can hold"


def test_each_endpoint_gets_its_own_key() -> None:
    both = read_settings(**SOUND, openai_api_key="one", chat_api_key="two")
    assert (both.effective_chat_api_key, both.effective_embedding_api_key) == ("two", "one")
    other = read_settings(**SOUND, openai_api_key="one", embedding_api_key="three")
    assert (other.effective_chat_api_key, other.effective_embedding_api_key) == ("one", "three")
