//! Everything that a user can type, on one page.
//!
//! The structures are argh's; their table of options (`ArgsInfo`) also drives what argh does not know: `--opt=value`,
//! `-it`, `-eA=b`, "the last one wins", "everything after the first plain word belongs to the command", the nearest
//! option to a mistyped one, and the help text. (argh doubles braces in descriptions: a single one here is shown as two.)

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgs, Optionality};

use crate::error::{Error, Result};
use crate::words;

/// Make a container and run a command in it
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[allow(clippy::struct_field_names)] // dry_run is what users type
#[argh(subcommand, name = "run", help_triggers("--help"))]
pub struct Run {
    /// keep standard input open
    #[argh(switch, short = 'i')]
    pub interactive: bool,
    /// give the command a terminal
    #[argh(switch, short = 't')]
    pub tty: bool,
    /// let it run in the background and print its id
    #[argh(switch, short = 'd')]
    pub detach: bool,
    /// remove the container when it ends
    #[argh(switch)]
    pub rm: bool,
    /// a name; one is made up otherwise
    #[argh(option, arg_name = "NAME")]
    pub name: Option<String>,
    /// set an environment variable, or pass on ctr's own (KEY)
    #[argh(option, short = 'e', arg_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// a file of environment variables, one a line
    #[argh(option, arg_name = "FILE")]
    pub env_file: Vec<String>,
    /// where the command starts; made if missing
    #[argh(option, short = 'w', arg_name = "DIR")]
    pub workdir: Option<String>,
    /// whom it runs as: name, uid, name:group or uid:gid of the root filesystem
    #[argh(option, short = 'u', arg_name = "USER")]
    pub user: Option<String>,
    /// the host name inside
    #[argh(option, short = 'h', arg_name = "NAME")]
    pub hostname: Option<String>,
    /// mount a host path inside; with :ro nothing can be written
    #[argh(option, short = 'v', arg_name = "SRC:DST[:ro]")]
    pub volume: Vec<String>,
    /// a mount in words: type=bind|tmpfs,source=…,target=…,readonly
    #[argh(option, arg_name = "SPEC")]
    pub mount: Vec<String>,
    /// mount a fresh tmpfs inside
    #[argh(option, arg_name = "DST[:OPTS]")]
    pub tmpfs: Vec<String>,
    /// nothing can be written but volumes and tmpfs
    #[argh(switch)]
    pub read_only: bool,
    /// write to the root directory itself, not to a layer above it
    #[argh(switch)]
    pub rw: bool,
    /// this directory becomes /; no ROOT is given then
    #[argh(option, arg_name = "DIR")]
    pub rootfs: Option<String>,
    /// bridge (root's default), none, host, container:NAME, or NAME[:ip=…,ip6=…,alias=…] of a network
    #[argh(option, arg_name = "NET")]
    pub network: Vec<String>,
    /// publish a port: -p 8080:80, -p 127.0.0.1:8080:80/udp, -p 8000-8010:80-90, -p 80 (any free one)
    #[argh(option, short = 'p', arg_name = "[[IP:]HOST:]PORT")]
    pub publish: Vec<String>,
    /// publish every port of --expose at any free one
    #[argh(switch, short = 'P')]
    pub publish_all: bool,
    /// a port that the command listens at, for -P
    #[argh(option, arg_name = "PORT[/PROTO]")]
    pub expose: Vec<String>,
    /// its IPv4 address on the first network
    #[argh(option, arg_name = "IP")]
    pub ip: Option<String>,
    /// its IPv6 address there
    #[argh(option, arg_name = "IP")]
    pub ip6: Option<String>,
    /// its hardware address there
    #[argh(option, arg_name = "MAC")]
    pub mac_address: Option<String>,
    /// one more name that others on its networks find it by
    #[argh(option, arg_name = "NAME")]
    pub network_alias: Vec<String>,
    /// host: see the host's processes
    #[argh(option, arg_name = "host")]
    pub pid: Option<String>,
    /// host: use the host's shared memory and queues
    #[argh(option, arg_name = "host")]
    pub ipc: Option<String>,
    /// host: use the host's name
    #[argh(option, arg_name = "host")]
    pub uts: Option<String>,
    /// auto (the default): ids of its own where that can be; required: or none; host: the host's
    #[argh(option, arg_name = "auto|required|host")]
    pub userns: Option<String>,
    /// its own ids by hand; those of groups too, without --gidmap
    #[argh(option, arg_name = "INSIDE:OUTSIDE:COUNT")]
    pub uidmap: Vec<String>,
    /// the same for groups
    #[argh(option, arg_name = "INSIDE:OUTSIDE:COUNT")]
    pub gidmap: Vec<String>,
    /// the program, COMMAND being its arguments
    #[argh(option, arg_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// a line for /etc/hosts; the address host-gateway is this host as seen from inside
    #[argh(option, arg_name = "NAME:IP")]
    pub add_host: Vec<String>,
    /// a name server instead of the host's
    #[argh(option, arg_name = "IP")]
    pub dns: Vec<String>,
    /// a domain to look names up in, instead of the host's; . for none
    #[argh(option, arg_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// an option for /etc/resolv.conf, such as ndots:2, instead of the host's
    #[argh(option, arg_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// a resource limit, such as nofile=1024:4096
    #[argh(option, arg_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// add a capability, such as NET_ADMIN, or ALL; for root inside (others have none)
    #[argh(option, arg_name = "CAP")]
    pub cap_add: Vec<String>,
    /// drop a capability, or ALL
    #[argh(option, arg_name = "CAP")]
    pub cap_drop: Vec<String>,
    /// all capabilities and devices, no masks, no filter: no boundary but --userns auto, if asked for
    #[argh(switch)]
    pub privileged: bool,
    /// a device of the host inside, or a directory of devices
    #[argh(option, arg_name = "HOST[:INSIDE][:rwm]")]
    pub device: Vec<String>,
    /// a kernel parameter of its own namespaces: net.*, fs.mqueue.*, kernel.msg*, .sem, .shm*
    #[argh(option, arg_name = "KEY=VALUE")]
    pub sysctl: Vec<String>,
    /// a group that the user is in beside his own: name or gid of the root filesystem
    #[argh(option, arg_name = "GROUP")]
    pub group_add: Vec<String>,
    /// seccomp=FILE|builtin|unconfined, no-new-privileges=BOOL, apparmor=NAME, label=type:NAME
    #[argh(option, arg_name = "KEY=VALUE")]
    pub security_opt: Vec<String>,
    /// size of /dev/shm (64m)
    #[argh(option, arg_name = "SIZE")]
    pub shm_size: Option<String>,
    /// the most memory it may use, such as 512m or 1.5g; what needs more is killed (137)
    #[argh(option, short = 'm', arg_name = "SIZE")]
    pub memory: Option<String>,
    /// memory and swap together (twice --memory); -1 for no limit
    #[argh(option, arg_name = "SIZE")]
    pub memory_swap: Option<String>,
    /// what the kernel tries to leave it when memory is short
    #[argh(option, arg_name = "SIZE")]
    pub memory_reservation: Option<String>,
    /// how gladly its memory is swapped out, 0 to 100 (cgroup v1)
    #[argh(option, arg_name = "N")]
    pub memory_swappiness: Option<String>,
    /// what needs more memory waits instead of being killed (cgroup v1)
    #[argh(switch)]
    pub oom_kill_disable: bool,
    /// how many processors' time it may use, such as 1.5
    #[argh(option, arg_name = "N")]
    pub cpus: Option<String>,
    /// the same by hand: a period, in microseconds (100000)
    #[argh(option, arg_name = "US")]
    pub cpu_period: Option<String>,
    /// and how much of it; -1 for no limit
    #[argh(option, arg_name = "US")]
    pub cpu_quota: Option<String>,
    /// its share when processors are short: 2 to 262144 (1024)
    #[argh(option, short = 'c', arg_name = "N")]
    pub cpu_shares: Option<String>,
    /// the same in the measure of cgroup v2: 1 to 10000 (100)
    #[argh(option, arg_name = "N")]
    pub cpu_weight: Option<String>,
    /// which processors, such as 0-2,5
    #[argh(option, arg_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// which memory nodes
    #[argh(option, arg_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// how many processes and threads; -1 for no limit
    #[argh(option, arg_name = "N")]
    pub pids_limit: Option<String>,
    /// its share of block devices: 10 to 1000 (500)
    #[argh(option, arg_name = "N")]
    pub blkio_weight: Option<String>,
    /// how fast it may read from a disk, such as /dev/sda:1m a second
    #[argh(option, arg_name = "PATH:RATE")]
    pub device_read_bps: Vec<String>,
    /// how fast it may write to a disk
    #[argh(option, arg_name = "PATH:RATE")]
    pub device_write_bps: Vec<String>,
    /// how many reads a second
    #[argh(option, arg_name = "PATH:N")]
    pub device_read_iops: Vec<String>,
    /// how many writes a second
    #[argh(option, arg_name = "PATH:N")]
    pub device_write_iops: Vec<String>,
    /// allow devices beside the usual ones, such as 'c 10:200 rwm'
    #[argh(option, arg_name = "RULE")]
    pub device_cgroup_rule: Vec<String>,
    /// the control group below which its own is made (/ctr)
    #[argh(option, arg_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// private (sees its own control groups alone; the default) or host
    #[argh(option, arg_name = "private|host")]
    pub cgroupns: Option<String>,
    /// what to do when it ends: no (default), on-failure, on-failure:TIMES, always, unless-stopped
    #[argh(option, arg_name = "POLICY")]
    pub restart: Option<String>,
    /// a label, for ps --filter and inspect
    #[argh(option, short = 'l', arg_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// labels from a file, one a line
    #[argh(option, arg_name = "FILE")]
    pub label_file: Vec<String>,
    /// what ctr stop sends (SIGTERM)
    #[argh(option, arg_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// how many seconds ctr stop waits before it kills (10)
    #[argh(option, arg_name = "SECONDS")]
    pub stop_timeout: Option<String>,
    /// a shell command inside that tells by exit code 0 that all is well
    #[argh(option, arg_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// how long after one check the next begins (30s)
    #[argh(option, arg_name = "DURATION")]
    pub health_interval: Option<String>,
    /// how long a check may take (30s)
    #[argh(option, arg_name = "DURATION")]
    pub health_timeout: Option<String>,
    /// how many failures in a row make it unhealthy (3)
    #[argh(option, arg_name = "N")]
    pub health_retries: Option<String>,
    /// how long after its start failures do not count (0s)
    #[argh(option, arg_name = "DURATION")]
    pub health_start_period: Option<String>,
    /// max-size=SIZE (10m) and max-file=N (3): the log never takes more than both together
    #[argh(option, arg_name = "KEY=VALUE")]
    pub log_opt: Vec<String>,
    /// keys that leave a terminal and let the container go on (ctrl-p,ctrl-q)
    #[argh(option, arg_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// write the container's id to a new file
    #[argh(option, arg_name = "FILE")]
    pub cidfile: Option<String>,
    /// write the host's pid of the command to a file
    #[argh(option, arg_name = "FILE")]
    pub pidfile: Option<String>,
    /// ctr stays as PID 1: passes signals on, reaps
    #[argh(switch)]
    pub init: bool,
    /// say every step as it happens, and what it costs
    #[argh(switch)]
    pub trace: bool,
    /// say every step and do nothing; needs no root
    #[argh(switch)]
    pub dry_run: bool,
}

/// Make a container that ctr start runs
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "create", help_triggers("--help"))]
pub struct Create {}

/// Start containers that were made, or have ended
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "start", help_triggers("--help"))]
pub struct Start {
    /// show its output, pass signals on, exit as it does
    #[argh(switch, short = 'a')]
    pub attach: bool,
    /// the same, with standard input
    #[argh(switch, short = 'i')]
    pub interactive: bool,
    /// keys that leave a terminal and let the container go on (ctrl-p,ctrl-q)
    #[argh(option, arg_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// instead of named ones, all whose --restart says that they come back after a reboot
    #[argh(switch)]
    pub restart_policy: bool,
}

/// End containers: their stop signal, and SIGKILL if that does not do it in time
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "stop", help_triggers("--help"))]
pub struct Stop {
    /// seconds to wait before it is killed; -1 for ever (10, or as --stop-timeout said)
    #[argh(option, short = 't', arg_name = "SECONDS")]
    pub time: Option<String>,
    /// the signal (SIGTERM, or as --stop-signal said)
    #[argh(option, short = 's', arg_name = "SIGNAL")]
    pub signal: Option<String>,
}

/// Send containers a signal
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "kill", help_triggers("--help"))]
pub struct Kill {
    /// which one (SIGKILL)
    #[argh(option, short = 's', arg_name = "SIGNAL")]
    pub signal: Option<String>,
}

/// Stop containers and start them again
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "restart", help_triggers("--help"))]
pub struct Restart {
    /// seconds to wait before it is killed; -1 for ever (10, or as --stop-timeout said)
    #[argh(option, short = 't', arg_name = "SECONDS")]
    pub time: Option<String>,
    /// the signal (SIGTERM, or as --stop-signal said)
    #[argh(option, short = 's', arg_name = "SIGNAL")]
    pub signal: Option<String>,
}

/// Remove containers, with what they wrote and their logs
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "rm", help_triggers("--help"))]
pub struct Rm {
    /// running ones too: they are killed
    #[argh(switch, short = 'f')]
    pub force: bool,
    /// with their nameless volumes (there are none yet)
    #[argh(switch, short = 'v')]
    #[allow(dead_code)] // taken for scripts that have it
    pub volumes: bool,
}

/// List containers
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "ps", help_triggers("--help"))]
pub struct Ps {
    /// those that do not run too
    #[argh(switch, short = 'a')]
    pub all: bool,
    /// ids alone
    #[argh(switch, short = 'q')]
    pub quiet: bool,
    /// nothing is cut short
    #[argh(switch)]
    pub no_trunc: bool,
    /// only those that match: name=, id=, status=, label=, exited=, health=, ancestor=, before=, since=
    #[argh(option, short = 'f', arg_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// table, json, or a template such as '{.Names} {.Status}'
    #[argh(option, arg_name = "FORMAT")]
    pub format: Option<String>,
    /// the last N that were made, whatever they do
    #[argh(option, short = 'n', arg_name = "N")]
    pub last: Option<String>,
    /// the last one that was made
    #[argh(switch, short = 'l')]
    pub latest: bool,
    /// how much each has written
    #[argh(switch, short = 's')]
    pub size: bool,
}

/// Say everything about containers, as JSON
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "inspect", help_triggers("--help"))]
pub struct Inspect {
    /// json, or a template such as '{.State.Pid}'
    #[argh(option, short = 'f', arg_name = "FORMAT")]
    pub format: Option<String>,
    /// with how much it has written
    #[argh(switch, short = 's')]
    pub size: bool,
    /// container: what Docker takes here
    #[argh(option, arg_name = "container")]
    pub r#type: Option<String>,
}

/// Show what a container has written to its standard output and error (kept within --log-opt max-size=10m, max-file=3)
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "logs", help_triggers("--help"))]
pub struct Logs {
    /// go on until the container ends
    #[argh(switch, short = 'f')]
    pub follow: bool,
    /// only the last N lines (all)
    #[argh(option, short = 'n', arg_name = "N")]
    pub tail: Option<String>,
    /// only what is later: a time (2026-11-22T10:00:00Z), or how long ago (10m)
    #[argh(option, arg_name = "TIME")]
    pub since: Option<String>,
    /// only what is earlier
    #[argh(option, arg_name = "TIME")]
    pub until: Option<String>,
    /// each line with its time
    #[argh(switch, short = 't')]
    pub timestamps: bool,
}

/// Run another command in a container that runs
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "exec", help_triggers("--help"))]
pub struct Exec {
    /// let it run in the background
    #[argh(switch, short = 'd')]
    pub detach: bool,
    /// keep standard input open
    #[argh(switch, short = 'i')]
    pub interactive: bool,
    /// give the command a terminal
    #[argh(switch, short = 't')]
    pub tty: bool,
    /// set an environment variable, or pass on ctr's own (KEY)
    #[argh(option, short = 'e', arg_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// a file of environment variables, one a line
    #[argh(option, arg_name = "FILE")]
    pub env_file: Vec<String>,
    /// where the command starts (as the container's own)
    #[argh(option, short = 'w', arg_name = "DIR")]
    pub workdir: Option<String>,
    /// whom it runs as: name, uid, name:group or uid:gid (as the container's own)
    #[argh(option, short = 'u', arg_name = "USER")]
    pub user: Option<String>,
    /// with all capabilities that there are
    #[argh(switch)]
    pub privileged: bool,
}

/// Take part in a running container's input and output
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "attach", help_triggers("--help"))]
pub struct Attach {
    /// keys that leave it and let it go on (ctrl-p,ctrl-q)
    #[argh(option, arg_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// its output alone
    #[argh(switch)]
    pub no_stdin: bool,
    /// whether signals are passed on (true)
    #[argh(option, arg_name = "true|false")]
    pub sig_proxy: Option<String>,
}

/// Wait until containers end, and print their exit codes
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "wait", help_triggers("--help"))]
pub struct Wait {}

/// List the processes of a container
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "top", help_triggers("--help"))]
pub struct Top {}

/// Show what containers use, again and again: with names, until all of those have ended
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "stats", help_triggers("--help"))]
pub struct Stats {
    /// those that do not run too
    #[argh(switch, short = 'a')]
    pub all: bool,
    /// once
    #[argh(switch)]
    pub no_stream: bool,
    /// nothing is cut short
    #[argh(switch)]
    pub no_trunc: bool,
    /// table, json, or a template such as '{.Name} {.CPUPerc}'; what is not counted is --
    #[argh(option, arg_name = "FORMAT")]
    pub format: Option<String>,
}

/// Freeze all processes of containers
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "pause", help_triggers("--help"))]
pub struct Pause {}

/// Let them go on
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "unpause", help_triggers("--help"))]
pub struct Unpause {}

/// Change the limits of containers, whether they run or not
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[allow(dead_code)] // its words are read by name, as a record's are
#[argh(subcommand, name = "update", help_triggers("--help"))]
pub struct Update {
    /// the most memory it may use, such as 512m or 1.5g; what needs more is killed (137)
    #[argh(option, short = 'm', arg_name = "SIZE")]
    pub memory: Option<String>,
    /// memory and swap together (twice --memory); -1 for no limit
    #[argh(option, arg_name = "SIZE")]
    pub memory_swap: Option<String>,
    /// what the kernel tries to leave it when memory is short
    #[argh(option, arg_name = "SIZE")]
    pub memory_reservation: Option<String>,
    /// how gladly its memory is swapped out, 0 to 100 (cgroup v1)
    #[argh(option, arg_name = "N")]
    pub memory_swappiness: Option<String>,
    /// how many processors' time it may use, such as 1.5
    #[argh(option, arg_name = "N")]
    pub cpus: Option<String>,
    /// the same by hand: a period, in microseconds (100000)
    #[argh(option, arg_name = "US")]
    pub cpu_period: Option<String>,
    /// and how much of it; -1 for no limit
    #[argh(option, arg_name = "US")]
    pub cpu_quota: Option<String>,
    /// its share when processors are short: 2 to 262144 (1024)
    #[argh(option, short = 'c', arg_name = "N")]
    pub cpu_shares: Option<String>,
    /// the same in the measure of cgroup v2: 1 to 10000 (100)
    #[argh(option, arg_name = "N")]
    pub cpu_weight: Option<String>,
    /// which processors, such as 0-2,5
    #[argh(option, arg_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// which memory nodes
    #[argh(option, arg_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// how many processes and threads; -1 for no limit
    #[argh(option, arg_name = "N")]
    pub pids_limit: Option<String>,
    /// its share of block devices: 10 to 1000 (500)
    #[argh(option, arg_name = "N")]
    pub blkio_weight: Option<String>,
    /// how fast it may read from a disk, such as /dev/sda:1m a second
    #[argh(option, arg_name = "PATH:RATE")]
    pub device_read_bps: Vec<String>,
    /// how fast it may write to a disk
    #[argh(option, arg_name = "PATH:RATE")]
    pub device_write_bps: Vec<String>,
    /// how many reads a second
    #[argh(option, arg_name = "PATH:N")]
    pub device_read_iops: Vec<String>,
    /// how many writes a second
    #[argh(option, arg_name = "PATH:N")]
    pub device_write_iops: Vec<String>,
}

/// Give a container another name
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "rename", help_triggers("--help"))]
pub struct Rename {}

/// Copy files out of a container or into it; - is a tar stream
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "cp", help_triggers("--help"))]
pub struct Cp {
    /// keep users and groups
    #[argh(switch, short = 'a')]
    pub archive: bool,
    /// follow the link that the source is
    #[argh(switch, short = 'L')]
    pub follow_link: bool,
    /// no word about what was copied
    #[argh(switch, short = 'q')]
    #[allow(dead_code)] // ctr says nothing anyway
    pub quiet: bool,
}

/// Remove all containers that do not run
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "prune", help_triggers("--help"))]
pub struct Prune {
    /// without asking
    #[argh(switch, short = 'f')]
    pub force: bool,
    /// only those that match: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[argh(option, arg_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}

/// Say what ctr is, where it keeps things and how many containers there are
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "info", help_triggers("--help"))]
pub struct Info {
    /// json, or a template such as '{.Containers}'
    #[argh(option, short = 'f', arg_name = "FORMAT")]
    pub format: Option<String>,
}

/// Follow what happens to containers: create, start, die, oom, stop, …
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "events", help_triggers("--help"))]
pub struct Events {
    /// begin with what happened since then: a time, or how long ago (10m)
    #[argh(option, arg_name = "TIME")]
    pub since: Option<String>,
    /// end then
    #[argh(option, arg_name = "TIME")]
    pub until: Option<String>,
    /// only those that match: container=, event=, label=
    #[argh(option, short = 'f', arg_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// json, or a template such as '{.Action}'
    #[argh(option, arg_name = "FORMAT")]
    pub format: Option<String>,
}

/// Look whether a container's boundary holds: what the kernel says of its processes, beside what was asked for
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "audit", help_triggers("--help"))]
pub struct Audit {
    /// instead of a container, any process of this machine and those that are in its namespaces
    #[argh(option, arg_name = "PID")]
    pub pid: Option<String>,
    /// only what is not as it should be
    #[argh(switch, short = 'q')]
    pub quiet: bool,
    /// table (the default) or json
    #[argh(option, arg_name = "table|json")]
    pub format: Option<String>,
}

/// Say what a container publishes, and where
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "port", help_triggers("--help"))]
pub struct Port {}

/// Make, look at and remove networks: create, ls, inspect, rm, prune, connect, disconnect, reload
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "network", help_triggers("--help"))]
pub struct Network {
    /// create: its addresses, such as 10.5.0.0/24, once for each of IPv4 and IPv6
    #[argh(option, arg_name = "SUBNET")]
    pub subnet: Vec<String>,
    /// create: the address of this host there (the first of the subnet)
    #[argh(option, arg_name = "IP")]
    pub gateway: Vec<String>,
    /// create: with IPv6
    #[argh(switch)]
    pub ipv6: bool,
    /// create: it leads nowhere but to its own containers and this host
    #[argh(switch)]
    pub internal: bool,
    /// create: the largest packet, in bytes (the uplink's)
    #[argh(option, arg_name = "BYTES")]
    pub mtu: Option<String>,
    /// create: bridge (the default), or macvlan, on a link of this host
    #[argh(option, short = 'd', arg_name = "bridge|macvlan")]
    pub driver: Option<String>,
    /// create: parent=LINK, for macvlan
    #[argh(option, short = 'o', arg_name = "KEY=VALUE")]
    pub opt: Vec<String>,
    /// create: a label
    #[argh(option, short = 'l', arg_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// connect: its IPv4 address there
    #[argh(option, arg_name = "IP")]
    pub ip: Option<String>,
    /// connect: its IPv6 address there
    #[argh(option, arg_name = "IP")]
    pub ip6: Option<String>,
    /// connect: one more name there
    #[argh(option, arg_name = "NAME")]
    pub alias: Vec<String>,
    /// ls: names alone
    #[argh(switch, short = 'q')]
    pub quiet: bool,
    /// rm: one that is not there is no error; disconnect: also with published ports; prune: do not ask
    #[argh(switch, short = 'f')]
    pub force: bool,
    /// ls, inspect: table, json, or a template such as '{.Name} {.Subnet}'
    #[argh(option, arg_name = "FORMAT")]
    pub format: Option<String>,
}

/// Say what this machine can do for containers, what is missing and what to do; or why a container's traffic does not move
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "doctor", help_triggers("--help"))]
pub struct Doctor {
    /// table (the default) or json
    #[argh(option, arg_name = "table|json")]
    pub format: Option<String>,
    /// mount what is missing on this machine: /proc, /sys, /dev, /run and others; of a container: mend what is ctr's
    #[argh(switch)]
    pub fix: bool,
}

/// Print a script with which a shell completes ctr's words
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "completion", help_triggers("--help"))]
pub struct Completion {}

/// A verb: its name, and what may follow the options.
pub struct Verb {
    /// What is typed after `ctr`.
    pub name: &'static str,
    /// What follows the options, for the usage line, and for `cmd/completion.rs`: CONTAINER in a word means that names of
    /// containers fit there, ROOT, FILE, DIR, SRC, DEST, ARG and COMMAND what they say; small letters stand for themselves.
    pub operands: &'static str,
    /// From the first plain word on everything belongs to a command; otherwise options may come after operands too.
    pub command: bool,
    /// Its options.
    pub info: fn() -> CommandInfoWithArgs,
}

const fn verb(name: &'static str, operands: &'static str, info: fn() -> CommandInfoWithArgs) -> Verb {
    Verb { name, operands, command: false, info }
}

const fn with_command(name: &'static str, operands: &'static str, info: fn() -> CommandInfoWithArgs) -> Verb {
    Verb { name, operands, command: true, info }
}

/// `create` takes what `run` takes.
pub fn create_info() -> CommandInfoWithArgs {
    let (run, create) = (Run::get_args_info(), Create::get_args_info());
    CommandInfoWithArgs { name: create.name, description: create.description, ..run }
}

/// Every verb, in the order of the help text.
pub const VERBS: [Verb; 28] = [
    with_command("run", "ROOT COMMAND [ARG…]", Run::get_args_info),
    with_command("create", "ROOT COMMAND [ARG…]", create_info),
    verb("start", "CONTAINER…", Start::get_args_info),
    verb("stop", "CONTAINER…", Stop::get_args_info),
    verb("restart", "CONTAINER…", Restart::get_args_info),
    verb("kill", "CONTAINER…", Kill::get_args_info),
    verb("rm", "CONTAINER…", Rm::get_args_info),
    verb("ps", "", Ps::get_args_info),
    verb("inspect", "CONTAINER…", Inspect::get_args_info),
    verb("logs", "CONTAINER", Logs::get_args_info),
    with_command("exec", "CONTAINER COMMAND [ARG…]", Exec::get_args_info),
    verb("attach", "CONTAINER", Attach::get_args_info),
    verb("wait", "CONTAINER…", Wait::get_args_info),
    with_command("top", "CONTAINER [OPTION…]", Top::get_args_info),
    verb("stats", "[CONTAINER…]", Stats::get_args_info),
    verb("pause", "CONTAINER…", Pause::get_args_info),
    verb("unpause", "CONTAINER…", Unpause::get_args_info),
    verb("update", "CONTAINER…", Update::get_args_info),
    verb("rename", "CONTAINER NAME", Rename::get_args_info),
    verb("cp", "CONTAINER:SRC|SRC|- CONTAINER:DEST|DEST|-", Cp::get_args_info),
    verb("prune", "", Prune::get_args_info),
    verb(
        "network",
        "create|ls|inspect|rm|prune|connect|disconnect|reload [NETWORK…] [CONTAINER]",
        Network::get_args_info,
    ),
    verb("port", "CONTAINER [PORT]", Port::get_args_info),
    verb("events", "", Events::get_args_info),
    verb("info", "", Info::get_args_info),
    verb("audit", "CONTAINER", Audit::get_args_info),
    verb("doctor", "[CONTAINER]", Doctor::get_args_info),
    verb("completion", "bash|zsh|fish", Completion::get_args_info),
];

/// A command line taken apart: the options for argh, and the operands as the bytes they were.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// `--long` words and their values, one each.
    pub options: Vec<String>,
    /// From the first plain word on (or after `--`).
    pub operands: Vec<OsString>,
    /// `--help` was among the options.
    pub help: bool,
}

/// Splits the words after a verb. Does what argh does not.
pub fn split(info: &CommandInfoWithArgs, words: &[OsString], command: bool) -> Result<Line> {
    let mut found: Vec<(usize, Option<String>)> = Vec::new();
    let mut words = words.iter();
    let mut operands = Vec::new();
    let mut help = false;
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" || !bytes.starts_with(b"-") || bytes == b"-" {
            operands.extend((bytes != b"--").then(|| word.clone()));
            if !command && bytes != b"--" {
                continue;
            }
            operands.extend(words.by_ref().cloned());
            break;
        }
        let text = utf8(word)?;
        let mut value_of = |flag: &FlagInfo, shown: &str| {
            let next = words
                .next()
                .ok_or_else(|| Error::usage(format_args!("{shown} needs a value: {}", usage(flag).trim_start())))?;
            utf8(next).map(str::to_owned)
        };
        if let Some(long) = text.strip_prefix("--") {
            let (name, given) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            if name == "help" {
                help = true;
                continue;
            }
            let (n, flag) = by_name(info, name)?;
            match (&flag.kind, given) {
                (FlagInfoKind::Switch, given) => switch(&mut found, n, given, &format!("--{name}"))?,
                (FlagInfoKind::Option { .. }, Some(value)) => found.push((n, Some(value.to_owned()))),
                (FlagInfoKind::Option { .. }, None) => found.push((n, Some(value_of(flag, text)?))),
            }
            continue;
        }
        let letters = text.char_indices().skip(1);
        for (at, letter) in letters {
            let (n, flag) = by_letter(info, letter)?;
            let rest = text.get(at + letter.len_utf8()..).unwrap_or_default();
            if flag.kind == FlagInfoKind::Switch {
                match rest.strip_prefix('=') {
                    None => found.push((n, None)),
                    Some(value) => {
                        switch(&mut found, n, Some(value), &format!("-{letter}"))?;
                        break;
                    }
                }
                continue;
            }
            let value = if rest.is_empty() {
                value_of(flag, &format!("-{letter}"))?
            } else {
                rest.strip_prefix('=').unwrap_or(rest).to_owned()
            };
            found.push((n, Some(value)));
            break;
        }
    }
    let mut options = Vec::new();
    for (at, (n, value)) in found.iter().enumerate() {
        let Some(flag) = info.flags.get(*n) else { continue };
        // The last one wins, unless it is one of those that add up.
        let again = found.iter().skip(at + 1).any(|(later, _)| later == n);
        if again && flag.optionality != Optionality::Repeating {
            continue;
        }
        options.push(flag.long.to_owned());
        options.extend(value.clone());
    }
    Ok(Line { options, operands, help })
}

/// A switch as Docker takes it: alone, or with =true or =false.
fn switch(found: &mut Vec<(usize, Option<String>)>, n: usize, given: Option<&str>, shown: &str) -> Result<()> {
    match given {
        None | Some("true" | "1") => found.push((n, None)),
        Some("false" | "0") => found.retain(|(seen, _)| *seen != n),
        Some(_) => return Err(Error::usage(format_args!("{shown} takes no value (or =true, =false)"))),
    }
    Ok(())
}

fn utf8(word: &OsStr) -> Result<&str> {
    word.to_str().ok_or_else(|| Error::usage(format_args!("option {} is not UTF-8", word.to_string_lossy())))
}

fn by_name<'a>(info: &'a CommandInfoWithArgs, name: &str) -> Result<(usize, &'a FlagInfo<'a>)> {
    let named = |(_, flag): &(usize, &FlagInfo)| flag.long.trim_start_matches('-') == name;
    info.flags.iter().enumerate().find(named).ok_or_else(|| {
        let nearest = words::nearest(name, info.flags.iter().map(|flag| flag.long.trim_start_matches('-')));
        let advice = nearest.map_or(String::new(), |near| format!(", did you mean --{near}?"));
        Error::usage(format_args!("unknown option --{name}{advice} (see ctr {} --help)", info.name))
    })
}

fn by_letter(info: &CommandInfoWithArgs, letter: char) -> Result<(usize, &FlagInfo<'_>)> {
    info.flags
        .iter()
        .enumerate()
        .find(|(_, flag)| flag.short == Some(letter))
        .ok_or_else(|| Error::usage(format_args!("unknown option -{letter} (see ctr {} --help)", info.name)))
}

/// Fills argh's structure.
pub fn parse<T: FromArgs>(verb: &str, options: &[String]) -> Result<T> {
    let words: Vec<&str> = options.iter().map(String::as_str).collect();
    T::from_args(&["ctr", verb], &words).map_err(|early| Error::usage(early.output.trim()))
}

/// An option with its letter and value, as a person types it.
fn usage(flag: &FlagInfo) -> String {
    let letter = flag.short.map_or(String::from("    "), |letter| format!("-{letter}, "));
    match flag.kind {
        FlagInfoKind::Switch => format!("{letter}{}", flag.long),
        FlagInfoKind::Option { arg_name } => format!("{letter}{} {arg_name}", flag.long),
    }
}

/// The help of one verb.
pub fn help(verb: &Verb) -> String {
    let info = (verb.info)();
    let mut text = format!(
        "Usage: {}\n\n{}.\n\nOptions:\n",
        format!("ctr {} [OPTION…] {}", verb.name, verb.operands).trim_end(),
        info.description
    );
    for flag in info.flags {
        let _ = writeln!(text, "  {:<34} {}", usage(flag), flag.description);
    }
    if verb.name == "run" {
        text.push_str(
            "\nROOT is the word host (a copy-on-write view of this machine) or a directory: ./rootfs, /srv/debian.\n\
             What follows ROOT belongs to the command. Exit code: the command's; 125 ctr failed, 126 not executable,\n\
             127 not found, 128+n killed by signal n.\n",
        );
    }
    text
}

/// The help of the verb with this name.
pub fn help_of(name: &str) -> String {
    VERBS.iter().find(|verb| verb.name == name).map_or(String::new(), help)
}

/// The help of ctr itself.
pub fn overview() -> String {
    let mut text =
        String::from("Usage: ctr VERB [OPTION…] …\n\nA container runtime in one static binary.\n\nVerbs:\n");
    for verb in &VERBS {
        let _ = writeln!(text, "  {:<10} {}", verb.name, (verb.info)().description);
    }
    text.push_str("\n  ctr VERB --help says more; ctr --version says which ctr this is.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> Result<Line> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        split(&Run::get_args_info(), &words, true)
    }

    fn options(words: &[&str]) -> Vec<String> {
        line(words).unwrap().options
    }

    #[test]
    fn dockers_habits() {
        assert_eq!(options(&["-it", "--name=web", "host"]), ["--interactive", "--tty", "--name", "web"]);
        assert_eq!(options(&["-eA=b", "-e", "C=d", "-e=E=f", "x"]), ["--env", "A=b", "--env", "C=d", "--env", "E=f"]);
        assert_eq!(options(&["-itu0", "x"]), ["--interactive", "--tty", "--user", "0"]);
        assert_eq!(options(&["--name", "a", "--name", "b", "x"]), ["--name", "b"]);
        assert_eq!(options(&["--rm=true", "-i", "--interactive=false", "x"]), ["--rm"]);
        assert_eq!(options(&["-i", "-i", "x"]), ["--interactive"]);
        assert_eq!(options(&["-i=true", "-t=false", "x"]), ["--interactive"]);
        assert_eq!(options(&["--env=", "x"]), ["--env", ""]);
    }

    #[test]
    fn what_follows_root_belongs_to_the_command() {
        let line = line(&["-i", "host", "ls", "-la", "--name=x", "--", "-t"]).unwrap();
        assert_eq!(line.options, ["--interactive"]);
        assert_eq!(line.operands, ["host", "ls", "-la", "--name=x", "--", "-t"].map(OsString::from));
        assert_eq!(super::tests::line(&["--", "-weird", "x"]).unwrap().operands, ["-weird", "x"].map(OsString::from));
    }

    #[test]
    fn mistakes_are_named() {
        let text = |words: &[&str]| line(words).unwrap_err().to_string();
        assert!(text(&["--hostnme", "x"]).contains("did you mean --hostname?"));
        assert!(text(&["--vol", "x"]).contains("did you mean --volume?"));
        assert!(!text(&["--zzzzzz"]).contains("did you mean"));
        assert!(text(&["-z"]).contains("unknown option -z"));
        assert!(text(&["--name"]).contains("needs a value"));
        assert!(text(&["-itx"]).contains("unknown option -x"));
        assert!(text(&["--rm=maybe"]).contains("takes no value"));
        assert!(line(&["--help"]).unwrap().help);
    }

    #[test]
    fn argh_takes_all_of_it() {
        let line = line(&["-it", "-eA", "--dry-run", "--ulimit", "core=0", "host"]).unwrap();
        let run: Run = parse("run", &line.options).unwrap();
        assert!(run.interactive && run.tty && run.dry_run);
        assert_eq!((run.env.as_slice(), run.ulimit.as_slice()), (&["A".to_owned()][..], &["core=0".to_owned()][..]));
        for verb in &VERBS {
            assert!(help(verb).contains("Usage: ctr "));
        }
    }
}
