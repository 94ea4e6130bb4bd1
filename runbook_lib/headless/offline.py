"""No network for a process and all that it starts: what a replay runs in. Standard library only, run by its path.

On Linux the system itself refuses every socket but those that are files (a seccomp filter), which also holds for C
libraries and helper programs and cannot be taken back. Elsewhere, and in front of it, Python refuses.
"""

from __future__ import annotations

import ctypes
import platform
import sys

REASON = "a replay opens no connection"
_AF_UNIX = 1
_EACCES = 13
# linux/prctl.h, linux/seccomp.h, linux/audit.h
_PR_SET_NO_NEW_PRIVS = 38
_SET_FILTER, _EVERY_THREAD = 1, 1
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
#: Machine to its AUDIT_ARCH and its numbers of the system calls ``socket`` and ``seccomp``.
_MACHINES = {"x86_64": (0xC000003E, 41, 317), "aarch64": (0xC00000B7, 198, 277)}
# linux/bpf_common.h: load a word, jump when equal, return.
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def block() -> bool:
    """Refuse new connections of every thread from now on; only for a process that is made for one replay.

    Returns:
        Whether the system itself refuses; False where only Python does.
    """
    refuse()
    known = _MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    return known is not None and _filter(*known)


def refuse() -> None:
    """Let Python refuse new connections of this process alone, such as a runner that must still start a kernel."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    # A family of -1 means: of the descriptor that is given, which exists already.
    if event == "socket.__new__" and arguments[1] not in {_AF_UNIX, -1}:
        raise PermissionError(_EACCES, REASON)
    if event == "socket.getaddrinfo":
        raise PermissionError(_EACCES, REASON)


def _filter(machine: int, socket_call: int, seccomp_call: int) -> bool:
    # struct seccomp_data: the call's number at 0, the machine at 4, the low word of the first argument at 16.
    steps = (
        (_LOAD, 0, 0, 4),
        (_EQUAL, 0, 5, machine),
        (_LOAD, 0, 0, 0),
        (_EQUAL, 0, 3, socket_call),
        (_LOAD, 0, 0, 16),
        (_EQUAL, 1, 0, _AF_UNIX),
        (_RETURN, 0, 0, _ERRNO | _EACCES),
        (_RETURN, 0, 0, _ALLOW),
    )
    instructions = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    program = _Program(len(steps), ctypes.cast(instructions, ctypes.POINTER(_Instruction)))
    system = ctypes.CDLL(None, use_errno=True)
    if system.prctl(_PR_SET_NO_NEW_PRIVS, *(ctypes.c_ulong(number) for number in (1, 0, 0, 0))) != 0:
        return False
    mode, flags = ctypes.c_uint(_SET_FILTER), ctypes.c_uint(_EVERY_THREAD)
    return bool(system.syscall(ctypes.c_long(seccomp_call), mode, flags, ctypes.byref(program)) == 0)
