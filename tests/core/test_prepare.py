"""Database and bucket are made ready before the services, and again without harm."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect

from services.core import prepare
from services.core.storage import ObjectStore


def test_what_is_prepared_is_there_and_may_be_prepared_again(make_settings: Callable[..., Any]) -> None:
    settings = make_settings()
    for _ in range(2):
        prepare.database(settings, 5)
        prepare.bucket(settings, 5)
    assert "jobs" in inspect(create_engine(settings.database_url)).get_table_names()
    # Triton takes no repository that is not there
    assert ObjectStore(settings).list_keys("triton/") == [prepare.REPOSITORY_MARK]


def test_a_part_that_never_answers_is_named_with_the_setting_to_look_at(make_settings: Callable[..., Any]) -> None:
    away = "postgresql+psycopg://medcoss:hidden@127.0.0.1:9/medcoss"
    with pytest.raises(prepare.NotPrepared, match=r"127\.0\.0\.1:9/medcoss; look at MEDCOSS_DATABASE_URL") as told:
        prepare.database(make_settings(database_url=away), 0)
    assert "hidden" not in str(told.value)
    wrong = make_settings(s3_secret_key="not the key")
    with pytest.raises(prepare.NotPrepared, match=r"MEDCOSS_S3_ENDPOINT and its keys \(\w+\)"):
        prepare.bucket(wrong, 0)
