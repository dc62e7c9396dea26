"""Child processes that never outlive this one, and how to start them without root's rights.

Linux ends them by `prctl(PR_SET_PDEATHSIG)`. On other systems a child survives when its
parent is killed by SIGKILL, until the next start stops it.
"""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1  # capabilities(7)
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class User:
    """The user that a child runs as. With `reads_all` it may open every file, like root.

    `reads_all` is for a checkout below a directory that only root may enter (`/root` has mode
    0700): the child is not root, but still finds its program and its data.
    """

    uid: int
    gid: int
    reads_all: bool = False


def unprivileged_user(owned: Path) -> User | None:
    """The user for a program that refuses to run as root; None when we are not root.

    It is the owner of `owned`; if that is root, it is `nobody`.
    """
    if os.geteuid() != 0:
        return None
    status = owned.stat()
    if status.st_uid != 0:
        return User(uid=status.st_uid, gid=status.st_gid)
    nobody = pwd.getpwnam("nobody")
    return User(uid=nobody.pw_uid, gid=nobody.pw_gid)


def spawn(
    command: Sequence[str],
    *,
    death_signal: signal.Signals,
    cwd: Path,
    output: IO[bytes] | int,
    user: User | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Start `command` in a new session, so that Ctrl-C does not reach it.

    It gets `death_signal` when the calling thread ends, so call this from a thread that
    lives as long as the process, usually the main thread.
    """
    return subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=env,
        pass_fds=pass_fds,
        start_new_session=True,
        preexec_fn=_before_exec(death_signal=death_signal, user=user, parent=os.getpid()),
    )


def _before_exec(
    *, death_signal: signal.Signals, user: User | None, parent: int
) -> Callable[[], None]:
    def prepare() -> None:
        if user is not None:
            _become(user)
        if sys.platform == "linux":
            # After the change of user, because that makes the kernel forget the signal.
            _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def _become(user: User) -> None:
    if user.reads_all:
        _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        # Otherwise access(2), which initdb uses to check `postgres`, looks only at the user.
        _libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(user.gid)
    os.setuid(user.uid)
    if user.reads_all:
        _keep_file_access()


def _keep_file_access() -> None:
    """Keep the capability CAP_DAC_OVERRIDE, and no other, through the next exec."""
    mask = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if _libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    if _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_CAP_AMBIENT)")
