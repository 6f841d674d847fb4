//! Limits that a process sets for itself before it works on what may mean harm. None of them can be
//! taken back.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use seccompiler::{SeccompAction, SeccompFilter, TargetArch};

/// Descriptors: input, output, errors, and a few that the library opens for a moment.
const DESCRIPTORS_MAX: u64 = 16;
/// Traffic goes first: how much later than others the process gets the processor.
const NICENESS: i32 = 10;

/// What the process may use up.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Processor time; the system counts whole seconds. None has no bound.
    pub cpu: Option<Duration>,
    /// Memory that it writes to, apart from its stack.
    pub memory_bytes: u64,
}

/// Sets the bounds; the process also ends with its parent, gains no rights, leaves no core, and lets
/// others go first.
///
/// # Errors
/// The system refuses one of them.
pub fn bound(bounds: Bounds) -> io::Result<()> {
    let exactly = |most| Rlimit { current: Some(most), maximum: Some(most) };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    setrlimit(Resource::Core, exactly(0))?;
    setrlimit(Resource::Fsize, exactly(0))?;
    setrlimit(Resource::Nofile, exactly(DESCRIPTORS_MAX))?;
    setrlimit(Resource::Data, exactly(bounds.memory_bytes))?;
    if let Some(cpu) = bounds.cpu {
        let seconds = cpu.as_secs() + u64::from(cpu.subsec_nanos() > 0);
        // At the first the process is told, which ends it; at the second it is killed.
        setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: Some(seconds + 1) })?;
    }
    // Where it may not even step back, it goes on.
    if rustix::process::nice(NICENESS).is_err() {
        tracing::debug!(event = "compiler.not_nice");
    }
    Ok(())
}

/// From here on the process computes, and reads and writes what it has open: no file, no socket, no
/// other process. What it asks for besides is refused.
///
/// # Errors
/// The system has no such filter.
pub fn confine() -> Result<(), seccompiler::Error> {
    let rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap_or(1));
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, architecture)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)
}

/// What a computation needs: its streams, memory, time, randomness, and an end.
const ALLOWED: [i64; 31] = [
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_getrusage,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
