"""Which system calls a script may make: those that Python needs to compute, and to read and write what it has.

No process can be started or traced, no program run, no socket made, no name space, mount, module or key touched. What
is not listed fails as if it were not permitted.

PowerShell is a program of its own, so that it must be run once the filter is there; and .NET wants some calls more.
Why each is there is said beside it.
"""

import tempfile
from functools import cache
from typing import Any, Final

CLONE_THREAD: Final = 0x10000
_EPERM: Final = 1
_ENOSYS: Final = 38
_ALLOWED: Final = """
    access brk capget chdir chmod clock_getres clock_gettime clock_nanosleep close close_range copy_file_range
    dup dup2 dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 exit exit_group faccessat faccessat2
    fadvise64 fallocate fchdir fchmod fchmodat fcntl fdatasync flock fstat fstatfs fsync ftruncate futex
    futex_waitv get_robust_list getcwd getdents64 getegid geteuid getgid getgroups getpgrp getpid getppid
    getpriority getrandom getresgid getresuid getrlimit getrusage getsid gettid gettimeofday getuid lseek lstat
    madvise membarrier mkdir mkdirat mmap mprotect mremap msync munmap nanosleep newfstatat open openat pause
    pipe pipe2 poll ppoll pread64 preadv pselect6 pwrite64 pwritev read readlink readlinkat readv rename
    renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn
    rt_sigsuspend rt_sigtimedwait sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getparam
    sched_getscheduler sched_yield select sendfile set_robust_list set_tid_address setitimer getitimer
    sigaltstack stat statfs statx symlink symlinkat sysinfo tgkill time timer_create timer_delete timer_settime
    times truncate umask uname unlink unlinkat utime utimensat write writev
"""

_POWERSHELL: Final = """
    arch_prctl execve mlock munlock sched_setaffinity getcpu mincore rt_tgsigqueueinfo
    inotify_init1 inotify_add_watch inotify_rm_watch
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmsg sendmsg sendto setsockopt
    shutdown
"""
"""Starting a program and its threads; waking threads for the collector of garbage (`mlock` where a runtime knows no
`membarrier`); and what is done with sockets, of which there are none but those within the script's own file system.
PowerShell before 7.6 listens on one of these at its start, and ends if it cannot."""
_MAP_SHARED, _MAP_ANONYMOUS = 1, 0x20
_AF_UNIX: Final = 1
_PR_SET_NAME: Final = 15


class FilterUnavailable(Exception):
    """There is no library that could make the filter; the text says what to install."""


@cache
def instructions(*, powershell: bool = False) -> bytes:
    """The filter as the kernel takes it. Raises FilterUnavailable."""
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise FilterUnavailable("libseccomp is not installed; install libseccomp2 from the distribution") from error
    wanted = seccomp.SyscallFilter(seccomp.ERRNO(_EPERM))
    names = set(_ALLOWED.split())
    if powershell:
        _for_powershell(seccomp, wanted)
        names = (names | set(_POWERSHELL.split())) - {"mmap"}
    for name in sorted(names):
        _add(seccomp, wanted, seccomp.ALLOW, name)
    _add(seccomp, wanted, seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD, CLONE_THREAD))
    _add(
        seccomp, wanted, seccomp.ERRNO(_ENOSYS), "clone3"
    )  # libraries take clone then, whose arguments can be looked at
    _add(seccomp, wanted, seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, 0x5401))  # is it a terminal
    _add(seccomp, wanted, seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, 0x5451))  # close on exec
    if not powershell:
        _add(seccomp, wanted, seccomp.ALLOW, "prlimit64", seccomp.Arg(2, seccomp.EQ, 0))  # ask only
    with tempfile.TemporaryFile() as file:
        wanted.export_bpf(file)
        file.seek(0)
        return file.read()


def _for_powershell(seccomp: Any, wanted: object) -> None:
    """Calls that are allowed with some arguments only.

    Memory that is shared and of no file counts for no bound of the process, so there is none. The runtime raises its
    own bound of open files to the most that it may have, which changes nothing here. That there are several memories
    to choose from is not told: it would look for them in /sys.
    """
    for bit in (_MAP_SHARED, _MAP_ANONYMOUS):
        _add(seccomp, wanted, seccomp.ALLOW, "mmap", seccomp.Arg(3, seccomp.MASKED_EQ, bit, 0))
    for name in ("socket", "socketpair"):
        _add(seccomp, wanted, seccomp.ALLOW, name, seccomp.Arg(0, seccomp.EQ, _AF_UNIX))
    for name in ("prlimit64", "setrlimit"):
        own = (seccomp.Arg(0, seccomp.EQ, 0),) if name == "prlimit64" else ()
        _add(seccomp, wanted, seccomp.ALLOW, name, *own)
    for name in ("get_mempolicy", "mbind"):
        _add(seccomp, wanted, seccomp.ERRNO(_ENOSYS), name)
    _add(seccomp, wanted, seccomp.ALLOW, "prctl", seccomp.Arg(0, seccomp.EQ, _PR_SET_NAME))
    _add(seccomp, wanted, seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, 0x5413))  # how large is the terminal


def _add(seccomp: object, wanted: object, action: object, name: str, *arguments: object) -> None:
    """A call that this kind of machine does not have needs no rule."""
    try:
        wanted.add_rule(action, name, *arguments)  # type: ignore[attr-defined]
    except (OSError, ValueError):
        return
