"""Flower's options (`--conf`), in a file because all users can see arguments in `ps`."""

from core.settings import get_settings
from worker.app import app

_settings = get_settings()
_password = _settings.flower_password.get_secret_value() or _settings.api_key.get_secret_value()

address = _settings.bind_host
port = _settings.flower_port
basic_auth = [f"admin:{_password}"]
persistent = False
natural_time = True
# `args` shows the worker's claim (`worker.flower`), because a message has no arguments.
tasks_columns = "name,args,state,exception,received,started,runtime,worker,uuid"
# Flower's broker page knows kombu's Redis transport, but not ours (core/queue/transport.py).
app.conf.broker_transport = ""
logging = "error"  # otherwise it warns at each start that no worker responds yet
