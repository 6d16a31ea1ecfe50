"""Database and object store of a data folder, for those who need them without the rest of the platform."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from services.core.settings import Settings
from services.embedded.family import FAMILY, LEFTOVER_GRACE_S, end_family
from services.embedded.parts import environment, settings_of
from services.embedded.process import PlatformError, Process
from services.embedded.servers import s3_server
from services.embedded.state import STATE_FILE, State, load_state, locked, read_running

# the gateway's address is told to clients; nobody asks for it here
_PORT = 8000


@contextmanager
def storage(data_dir: Path, *, new: bool = False) -> Iterator[Settings]:
    """Settings that lead to the database and the running object store of a data folder.

    While a platform runs on it they are its own; otherwise the object store is started for as long as this lasts.
    With `new` no platform may run, and the folder is made if need be. Raises PlatformError.
    """
    folder = data_dir.resolve()
    if not new and not (folder / STATE_FILE).is_file():
        raise PlatformError(f"{data_dir} holds no platform; name its data folder with --data-dir")
    if not new and read_running(folder) is not None:
        state = State.model_validate_json((folder / STATE_FILE).read_text())
        yield settings_of(environment(folder, state, _PORT))
        return
    with locked(folder):
        end_family(folder, LEFTOVER_GRACE_S)
        state = load_state(folder)
        env = environment(folder, state, _PORT)
        server = s3_server(folder / "s3", state.ports["s3"], state.s3_access_key, state.s3_secret_key)
        mark = {FAMILY: env[FAMILY]}
        with Process(replace(server, env=server.env | mark, log=folder / "logs" / "s3.log")):
            yield settings_of(env)
