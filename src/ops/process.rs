//! The process as the system sees it, under the names that dashboards for every program know. Read when somebody asks.

use std::fs;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::page::{Kind, Page};

/// What the kernel counts CPU time in towards programs (`USER_HZ`); 100 on every architecture that Linux runs servers on.
const TICKS: f64 = 100.0;

/// Writes the `process_*` families. What the system does not tell is 0.
pub fn write(page: &mut Page) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| field(&status, name).map_or(0.0, |kib| kib * 1024.0);
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (cpu, start) = times(&stat);
    // The folder being read is a descriptor itself.
    let fds = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1));
    #[expect(clippy::cast_precision_loss, reason = "a number of descriptors")]
    let fds = fds as f64;
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let (gauge, counter) = (Kind::Gauge, Kind::Counter);
    page.one("process_cpu_seconds_total", counter, "CPU time, user and system.", cpu);
    page.one("process_resident_memory_bytes", gauge, "Memory in RAM.", kib("VmRSS:"));
    page.one("process_virtual_memory_bytes", gauge, "Address space.", kib("VmSize:"));
    page.one("process_threads", gauge, "Threads.", field(&status, "Threads:").unwrap_or(0.0));
    page.one("process_open_fds", gauge, "Descriptors that are open.", fds);
    page.one("process_max_fds", gauge, "Descriptors that may be open (LimitNOFILE).", most_open(&limits));
    page.one("process_start_time_seconds", gauge, "When it started, in seconds since 1970.", start);
}

/// Lets a crash leave no core behind, which would hold every secret: whether that is so now.
pub fn leaves_no_core() -> bool {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // The sandbox of the unit forbids the question, and has set the limit itself.
    let is_none = || {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        field(&limits, "Max core file size") == Some(0.0)
    };
    setrlimit(Resource::Core, none).is_ok() || is_none()
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// CPU time, and the start in seconds since 1970.
fn times(stat: &str) -> (f64, f64) {
    // The second field is the program's name in brackets and may hold anything, brackets and spaces too.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |field: usize| -> f64 {
        let text = rest.split_whitespace().nth(field - 3).unwrap_or_default(); // proc(5) counts from 1
        text.parse().unwrap_or(0.0)
    };
    let system = fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = field(&system, "btime ").unwrap_or(0.0);
    ((ticks(14) + ticks(15)) / TICKS, booted + ticks(22) / TICKS)
}

fn most_open(limits: &str) -> f64 {
    field(limits, "Max open files").unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 6 7 20 0 5 0 1000 8 9 10";
        let (cpu, start) = times(stat);
        assert!((cpu - 2.0).abs() < 1e-9, "{cpu}");
        assert!(start > 1e9, "{start}");
        assert_eq!(field("Name:\tx\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12.0));
        let limits = "Limit Soft Hard Units\nMax open files            1024                 4096    files\n";
        assert!((most_open(limits) - 1024.0).abs() < 1e-9);
    }

    #[test]
    fn knows_this_process() {
        let mut page = Page::default();
        write(&mut page);
        let text = page.text();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value > 0.0 || line.starts_with("process_cpu"), "{line}");
        }
        assert_eq!(text.matches("# TYPE").count(), 7);
    }
}
