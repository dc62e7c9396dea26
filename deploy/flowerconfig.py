"""Flower's options (`--conf`); a file, since arguments are in everybody's `ps`."""

from core.settings import get_settings
from worker.app import app

_settings = get_settings()
_password = _settings.flower_password.get_secret_value() or _settings.api_key.get_secret_value()

address = _settings.bind_host
port = _settings.flower_port
basic_auth = [f"admin:{_password}"]
persistent = False
natural_time = True
# `args` is what the worker claimed (`worker.flower`): a message itself has no arguments.
tasks_columns = "name,args,state,exception,received,started,runtime,worker,uuid"
# Flower's broker page knows Redis by kombu's name of it, not by ours (core/queue/transport.py).
app.conf.broker_transport = ""
logging = "error"  # at each start it warns that no worker answers yet
