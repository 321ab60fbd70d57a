//! Figures of the process, from `/proc`.
//!
//! In:    `/proc/self`, `/proc/stat`.
//! Out:   CPU time, resident memory, descriptors, start time; a figure that cannot be read is left out.
//! Never: fails.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// Ticks per second in `/proc/self/stat`: the kernel's USER_HZ, 100 on every architecture Rust runs Linux on.
const TICKS: f64 = 100.0;

/// What could be read, by metric name.
pub(super) fn figures() -> Vec<(&'static str, f64)> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let figures = [
        ("process_cpu_seconds_total", cpu_seconds(&stat)),
        ("process_resident_memory_bytes", resident_octets(&read("/proc/self/status"))),
        ("process_open_fds", open_descriptors()),
        ("process_max_fds", getrlimit(Resource::Nofile).current.map(|limit| limit as f64)),
        ("process_start_time_seconds", start_seconds(&stat, &read("/proc/stat"))),
    ];
    figures.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Field `number` of proc(5)'s stat, counted from 1 as there. The second may hold anything, parentheses too.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((field(stat, 14)? + field(stat, 15)?) / TICKS)
}

fn start_seconds(stat: &str, system: &str) -> Option<f64> {
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + field(stat, 22)? / TICKS)
}

fn resident_octets(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn open_descriptors() -> Option<f64> {
    // The directory's own descriptor is among those listed.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_figures_can_be_read_here() {
        let figures = figures();
        assert_eq!(figures.len(), 5);
        assert!(figures.iter().all(|(name, value)| *value > 0.0 || *name == "process_cpu_seconds_total"));
    }

    #[test]
    fn a_name_with_parentheses_is_skipped() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4 1 1 1 1 250 50 0 0 20 0 9 0 1000 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(start_seconds(stat, "cpu 1\nbtime 500\n"), Some(510.0));
        assert_eq!(resident_octets("VmRSS:\t  10 kB\n"), Some(10_240.0));
        assert_eq!((cpu_seconds(""), resident_octets("")), (None, None));
    }
}
