//! What the kernel knows of a process and its children: CPU time, memory, system calls, affinity.
//!
//! In:    a process id.
//! Out:   sums over that process and all below it (nginx's worker is a child of its master).
//! Never: estimates: a figure that cannot be had here is absent, and the report says so.
//!
//! proc(5); Documentation/scheduler/sched-stats.rst of Linux for `schedstat`.

use std::fs;
use std::io;
use std::ops::{Add, Sub};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// CPU seconds: all, and those in user mode.
#[derive(Clone, Copy, Default)]
pub struct Cpu {
    pub total: f64,
    pub user_ticks: f64,
    pub ticks: f64,
}

/// Who used the machine: clock ticks of everybody, of us and all our ended children, and of nobody.
#[derive(Clone, Copy)]
pub struct Machine {
    busy: f64,
    ours: f64,
    all: f64,
}

/// Everything of ours and of the peer on one CPU, until dropped.
pub struct Pinned {
    before: CpuSet,
    tasks: Vec<Pid>,
}

impl Cpu {
    /// What `pid` and its children have used.
    pub fn of(pid: u32) -> io::Result<Self> {
        tree(pid)?.into_iter().map(Self::of_one).try_fold(Self::default(), |sum, one| Ok(sum + one?))
    }

    /// Seconds in user mode. The kernel samples the split by its tick, the sum is exact.
    pub fn user(self) -> f64 {
        if self.ticks > 0.0 { self.total * self.user_ticks / self.ticks } else { 0.0 }
    }

    fn of_one(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold spaces; utime and stime are fields 14 and 15, from 1.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
        let field = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        let (user_ticks, system_ticks) = (field(11), field(12));
        let mut total = 0.0;
        for task in tasks(pid)? {
            let schedstat = fs::read_to_string(task.join("schedstat"))?;
            let running = schedstat.split(' ').next().and_then(|field| field.parse::<f64>().ok());
            total += running.unwrap_or(0.0) / 1e9;
        }
        Ok(Self { total, user_ticks, ticks: user_ticks + system_ticks })
    }
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            user_ticks: self.user_ticks + other.user_ticks,
            ticks: self.ticks + other.ticks,
        }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            total: self.total - other.total,
            user_ticks: self.user_ticks - other.user_ticks,
            ticks: self.ticks - other.ticks,
        }
    }
}

impl Machine {
    /// As of now.
    pub fn now() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let cpu = stat.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; guest time is in user already.
        let ticks: Vec<f64> =
            cpu.split_ascii_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
        let all: f64 = ticks.iter().sum();
        let idle: f64 = ticks.iter().skip(3).take(2).sum();
        let own = fs::read_to_string("/proc/self/stat")?;
        let own = own.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        // utime, stime, and the same of children that were waited for.
        let ours = own.skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
        Ok(Self { busy: all - idle, ours, all })
    }

    /// The share of the machine that went to somebody else since `before`, in per cent.
    pub fn others_since(self, before: Self) -> f64 {
        let others = (self.busy - before.busy) - (self.ours - before.ours);
        (100.0 * others / (self.all - before.all).max(1.0)).max(0.0)
    }
}

impl Pinned {
    /// Pins this process and, if there is one, the peer's.
    pub fn to_one_cpu(peer: Option<u32>) -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut one = CpuSet::new();
        one.set((0..1024).find(|cpu| before.is_set(*cpu)).unwrap_or(0));
        let mut processes = vec![std::process::id()];
        if let Some(peer) = peer {
            processes.extend(tree(peer)?);
        }
        let mut pinned = Self { before, tasks: Vec::new() };
        for process in processes {
            for task in tasks(process)? {
                let id = task.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
                let Some(id) = id.and_then(Pid::from_raw) else { continue };
                sched_setaffinity(Some(id), &one)?;
                pinned.tasks.push(id);
            }
        }
        Ok(pinned)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for task in &self.tasks {
            // A task that is gone needs no affinity.
            let _ = sched_setaffinity(Some(*task), &self.before);
        }
    }
}

/// Proportional set size of `pid` and its children, in KiB.
pub fn pss_kib(pid: u32) -> io::Result<f64> {
    let mut sum = 0.0;
    for process in tree(pid)? {
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line
            .and_then(|line| line.split_ascii_whitespace().next())
            .and_then(|kib| kib.parse::<f64>().ok());
        sum += kib.ok_or_else(|| io::Error::other("no Pss in smaps_rollup"))?;
    }
    Ok(sum)
}

/// Runs `work` while strace(1) counts the system calls of `pid` and its children; `None` without strace.
///
/// The peer is slowed down several times by it, so more of its work falls into one turn: the count is a
/// little lower than at full speed, for every peer alike.
pub fn system_calls<T>(
    pid: u32,
    directory: &Path,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<Option<(f64, T)>> {
    let file = directory.join("strace");
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-o"]).arg(&file);
    for process in tree(pid)? {
        command.arg("-p").arg(process.to_string());
    }
    let Ok(child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return Ok(None);
    };
    let mut tracer = Tracer(child);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !tracee(pid)? {
        if Instant::now() > deadline || tracer.0.try_wait()?.is_some() {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let done = work()?;
    tracer.stop()?;
    let table = fs::read_to_string(&file)?;
    // "100.00    0.054403           4     13432           total"; the errors' column may be empty.
    let total = table.lines().find(|line| line.trim_end().ends_with("total"));
    let calls =
        total.and_then(|line| line.split_ascii_whitespace().nth(3)).and_then(|calls| calls.parse().ok());
    Ok(calls.map(|calls| (calls, done)))
}

struct Tracer(Child);

impl Tracer {
    fn stop(&mut self) -> io::Result<()> {
        if let Some(pid) = Pid::from_raw(self.0.id().cast_signed()) {
            let _ = kill_process(pid, Signal::INT);
        }
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // SIGINT makes strace detach; killed, it would leave the peer stopped.
            let _ = self.stop();
        }
    }
}

/// Whether every task of `pid` and its children is traced.
fn tracee(pid: u32) -> io::Result<bool> {
    for process in tree(pid)? {
        for task in tasks(process)? {
            if fs::read_to_string(task.join("status"))?.contains("TracerPid:\t0\n") {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn tasks(pid: u32) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(format!("/proc/{pid}/task"))?.map(|entry| Ok(entry?.path())).collect()
}

/// `pid` and everything below it.
fn tree(pid: u32) -> io::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end between the listing and the reading.
        let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let parent = after_name.split_ascii_whitespace().nth(1).and_then(|parent| parent.parse().ok());
        parents.push((process, parent.unwrap_or(0u32)));
    }
    let mut tree = vec![pid];
    let mut at = 0;
    while let Some(&parent) = tree.get(at) {
        tree.extend(parents.iter().filter(|pair| pair.1 == parent).map(|pair| pair.0));
        at += 1;
    }
    Ok(tree)
}
