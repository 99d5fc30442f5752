from __future__ import annotations

import pytest

from striate.errors import InputError
from striate.tasks import TASKS, Classify, Task, build_task


def test_a_task_is_built_by_name() -> None:
    task = build_task("classify", class_names=("a", "b"), top_k=1)
    assert task == Classify(("a", "b"), top_k=1)
    assert isinstance(task, Task)
    assert TASKS["classify"].function is Classify


def test_an_unknown_task_or_option_is_refused() -> None:
    with pytest.raises(InputError, match=r"^unknown task: got 'classfy'\. Did you mean classify\?"):
        build_task("classfy")
    with pytest.raises(InputError, match=r"^task classify has no option: got 'topk'\. Did you mean top_k\?"):
        build_task("classify", class_names=("a", "b"), topk=1)
