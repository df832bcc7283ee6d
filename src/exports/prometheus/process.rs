//! What does this process use? As `/proc/self` says; nothing where there is none.

use std::fs;

/// Figures of a process under the names that client libraries give them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) cpu_seconds: f64,
    pub(super) start_seconds: f64,
    pub(super) open_files: u64,
    pub(super) max_files: u64,
}

/// The unit of times in `/proc/self/stat`: `USER_HZ`, which Linux fixes at 100 towards user space.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// This process now; `None` where the system does not tell.
    pub(super) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let mut process = Self::parse(&stat, &system, &status, &limits)?;
        process.open_files = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        Some(process)
    }

    fn parse(stat: &str, system: &str, status: &str, limits: &str) -> Option<Self> {
        // The name in parentheses may hold anything, so fields are counted from its end.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let boot =
            system.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
        let kilobytes = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
        };
        let files = limits.lines().find_map(|l| l.strip_prefix("Max open files"));
        Some(Self {
            resident_bytes: kilobytes("VmRSS")? * 1024,
            virtual_bytes: kilobytes("VmSize")? * 1024,
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            start_seconds: boot + field(22)? / TICKS_PER_SECOND,
            open_files: 0,
            max_files: files.and_then(|f| f.split_whitespace().next()?.parse().ok()).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let mut fields = vec!["0"; 50];
        (fields[14 - 3], fields[15 - 3], fields[22 - 3]) = ("150", "50", "1000");
        let stat = format!("7 (a ) b) {}", fields.join(" "));
        let status = "VmSize:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        let limits = "Max open files            1024                 4096                 files\n";
        let process = Process::parse(&stat, "cpu 1\nbtime 100\n", status, limits).unwrap();
        let expected = Process {
            resident_bytes: 1 << 20,
            virtual_bytes: 2 << 20,
            cpu_seconds: 2.0,
            start_seconds: 110.0,
            open_files: 0,
            max_files: 1024,
        };
        assert_eq!(process, expected);
        assert_eq!(Process::parse("", "", "", ""), None);
    }
}
