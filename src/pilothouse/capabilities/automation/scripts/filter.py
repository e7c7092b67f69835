"""Which system calls a script may make: those that Python needs to compute, and to read and write what it has.

No process can be started or traced, no program run, no socket made, no name space, mount, module or key touched. What
is not listed fails as if it were not permitted.
"""

import tempfile
from functools import cache
from typing import Final

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


class FilterUnavailable(Exception):
    """There is no library that could make the filter; the text says what to install."""


@cache
def instructions() -> bytes:
    """The filter as the kernel takes it. Raises FilterUnavailable."""
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise FilterUnavailable("libseccomp is not installed; install libseccomp2 from the distribution") from error
    wanted = seccomp.SyscallFilter(seccomp.ERRNO(_EPERM))
    for name in _ALLOWED.split():
        _add(seccomp, wanted, seccomp.ALLOW, name)
    _add(seccomp, wanted, seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD, CLONE_THREAD))
    _add(
        seccomp, wanted, seccomp.ERRNO(_ENOSYS), "clone3"
    )  # libraries take clone then, whose arguments can be looked at
    _add(seccomp, wanted, seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, 0x5401))  # is it a terminal
    _add(seccomp, wanted, seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, 0x5451))  # close on exec
    _add(seccomp, wanted, seccomp.ALLOW, "prlimit64", seccomp.Arg(2, seccomp.EQ, 0))  # ask only
    with tempfile.TemporaryFile() as file:
        wanted.export_bpf(file)
        file.seek(0)
        return file.read()


def _add(seccomp: object, wanted: object, action: object, name: str, *arguments: object) -> None:
    """A call that this kind of machine does not have needs no rule."""
    try:
        wanted.add_rule(action, name, *arguments)  # type: ignore[attr-defined]
    except (OSError, ValueError):
        return
