//! What the machine gives: disk, open files, a clock that is about right, and the port to listen at.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{Resource, getrlimit};

use super::{Found, Patient};
use crate::config::ConfigFile;
use crate::web::place::PagePlace;

/// Bytes that have to be free: the write-ahead log of a burst and the wallet's files, several times over.
pub const LEAST_FREE: u64 = 64 << 20;
/// Bytes below which it is worth a word.
const COMFORTABLE_FREE: u64 = 1 << 30;
/// Open files that a node needs: connections to a group of a hundred over two ways, the database, the console and its threads.
const LEAST_FILES: u64 = 512;
/// A clock before this is wrong: this program is from later (2026-01-01).
const EARLIEST_MS: u64 = 1_767_225_600_000;
/// How far clocks may be apart before somebody's is wrong. Times order nothing here, but people read them, and certificates of servers expire by them.
const CLOCKS_APART_MS: u64 = 5 * 60 * 1_000;

/// Whether there is room on the disk, and whether it takes writes.
pub fn disk(patient: &Patient) -> Vec<Found> {
    let path = patient.home.path();
    let stat = match statvfs(path) {
        Ok(stat) => stat,
        Err(error) => return vec![Found::skipped(format!("cannot ask about the disk of {}: {error}", path.display()))],
    };
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return vec![Found::trouble(
            format!("the file system of {} is read-only", path.display()),
            "the system does that when a disk fails: look at its log (dmesg). Or move the folder elsewhere and name the root with --home",
        )];
    }
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let shown = size(free);
    if free < patient.least_free {
        return vec![Found::trouble(
            format!("the disk is nearly full: {shown} free at {}", path.display()),
            "free some space; a node whose disk is full stops, and nothing that was acknowledged is lost",
        )];
    }
    // Some file systems have no fixed number of files and say 0 of 0.
    if stat.f_files > 0 && stat.f_favail == 0 {
        return vec![Found::trouble(
            format!("the file system of {} takes no more files", path.display()),
            "remove files that nobody needs: it has run out of inodes (df -i)",
        )];
    }
    if free < COMFORTABLE_FREE {
        return vec![Found::note(format!("{shown} free"), "keep an eye on it: a node whose disk is full stops")];
    }
    vec![Found::good(format!("{shown} free"))]
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=0xf_ffff => format!("{} KiB", bytes >> 10),
        0x10_0000..=0x3fff_ffff => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// Whether a process may open enough files.
pub fn files(patient: &Patient) -> Vec<Found> {
    let (limit, whose) = match patient.pid().and_then(limit_of) {
        Some(limit) => (limit, "the node"),
        None => (getrlimit(Resource::Nofile).current, "a command from this shell"),
    };
    match limit {
        Some(limit) if limit < LEAST_FILES => vec![Found::trouble(
            format!("{whose} may open {limit} files; a node needs up to {LEAST_FILES}"),
            "raise it before `side-node run`: ulimit -n 4096, or LimitNOFILE=4096 in a systemd unit",
        )],
        Some(limit) => vec![Found::good(format!("{whose} may open {limit} files"))],
        None => vec![Found::good(format!("{whose} may open any number of files"))],
    }
}

/// The soft limit of a process, as Linux tells it: `Max open files   1024   524288   files`.
fn limit_of(pid: u32) -> Option<Option<u64>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let word = line.split_whitespace().next()?;
    if word == "unlimited" { Some(None) } else { word.parse().ok().map(Some) }
}

/// Whether the clock is about right.
pub fn clock(patient: &Patient) -> Vec<Found> {
    let now = patient.now_ms;
    let remedy = "set the clock by the network: timedatectl set-ntp true";
    if now < EARLIEST_MS {
        return vec![Found::trouble(format!("the clock says {} UTC", crate::output::time(now)), remedy)];
    }
    let ahead = |time: u64| time.saturating_sub(now) > CLOCKS_APART_MS;
    let far = |time: u64| crate::output::time(time);
    if patient.holder().is_some() {
        let members = patient.groups().iter().flat_map(|view| &view.peers.members);
        let (own, others): (Vec<_>, Vec<_>) = members.partition(|member| member.this_node);
        if let Some(own) = own.iter().find(|member| ahead(member.time_ms)) {
            return vec![set_back(now, own.time_ms)];
        }
        let others_ahead: Vec<_> = others.iter().filter(|member| ahead(member.time_ms)).collect();
        if let Some(first) = others_ahead.first() {
            let name = first
                .name
                .as_deref()
                .map_or_else(|| crate::output::short(&first.key).to_owned(), crate::output::printable);
            let what =
                format!("{name} wrote at {} UTC by its own clock, and this one says {}", far(first.time_ms), far(now));
            // One member may say what it likes. Several, or the only other one, are worth a look.
            let several = others_ahead.len() * 2 > others.len();
            return vec![if several {
                Found::trouble(what, remedy)
            } else {
                Found::note(what, "one of the two is wrong; times order nothing here")
            }];
        }
    } else if let Ok(examined) = patient.examined()
        && let Some(latest) = examined.latest_ms.filter(|latest| ahead(*latest))
    {
        return vec![set_back(now, latest)];
    }
    vec![Found::good(format!("{} UTC, and nobody is far ahead", far(now)))]
}

fn set_back(now: u64, written: u64) -> Found {
    Found::trouble(
        format!(
            "the clock says {} UTC, and something was written here at {}: it was set back, or was ahead before",
            crate::output::time(now),
            crate::output::time(written)
        ),
        "set the clock by the network: timedatectl set-ntp true",
    )
}

/// Whether the ports to listen at are free, or held by the node itself.
pub fn port(patient: &Patient) -> Vec<Found> {
    let config = patient.config();
    let mut found = nodes(patient, &config);
    // A page's port that nobody named is any free one.
    if let (Some(PagePlace::At(page)), None) =
        (config.page.filter(|place| *place != PagePlace::default()), patient.holder())
        && page.port() != 0
        && let Err(error) = TcpListener::bind(page)
    {
        found.push(Found::trouble(
            format!("the page cannot be served at {page}: {error}"),
            format!("choose another port with `page` in {}, or \"off\"", patient.home.config_file().display()),
        ));
    }
    found
}

fn nodes(patient: &Patient, config: &ConfigFile) -> Vec<Found> {
    let configured = config.listen;
    let Some(listen) = configured.or_else(|| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, patient.registered_port()?))))
    else {
        return vec![Found::skipped("no port is chosen yet")];
    };
    if patient.holder().is_some() {
        return vec![Found::good(format!("the node listens at {listen}"))];
    }
    match TcpListener::bind(listen) {
        Ok(_) => vec![Found::good(format!("{listen} is free"))],
        Err(error) if error.kind() == ErrorKind::AddrInUse && configured.is_none() => vec![Found::note(
            format!("port {} is taken by something else", listen.port()),
            "nothing to do: the node takes another one at its next run, since none is set with `listen`",
        )],
        Err(error) => vec![Found::trouble(
            format!("cannot listen at {listen}: {error}"),
            format!(
                "find out who has it (ss -ltnp 'sport = :{}'), or change `listen` in {}",
                listen.port(),
                patient.home.config_file().display()
            ),
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!((size(2048), size(64 << 20), size(3 << 30)), ("2 KiB".into(), "64 MiB".into(), "3.0 GiB".into()));
    }

    #[test]
    fn the_limit_of_a_process_is_read() {
        let own = limit_of(std::process::id()).expect("this process has limits");
        assert_eq!(own, getrlimit(Resource::Nofile).current);
    }
}
