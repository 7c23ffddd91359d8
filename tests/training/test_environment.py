import pytest

from descant.errors import InvalidRequest
from descant.training.environment import WORLD_SIZES, refuse_several_processes


@pytest.mark.parametrize("name", WORLD_SIZES)
def test_a_launcher_of_several_processes_is_refused(name):
    with pytest.raises(InvalidRequest, match=f"{name}=2: training runs in one process"):
        refuse_several_processes({name: "2"})


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "many"}])
def test_a_single_process_is_accepted(environment):
    refuse_several_processes(environment)
