//! `ctr completion SHELL`: a script that completes ctr's words in bash, zsh or fish.
//!
//! All of it is made from the table of verbs in `cli.rs`, so that it cannot know less than ctr does. What fits for an option or
//! an operand is read from the name of its value ([`Fits::read`]): FILE, DIR, CONTAINER, `auto|host`. Names of containers are
//! asked of ctr itself, of the very one that is being typed, when they are needed.
//!
//! The scripts follow ctr's own rule that the first plain word after a verb ends its options: in `ctr run host ls -` the
//! letters of ls are not ours.

use std::ffi::OsString;
use std::fmt::Write;

use argh::FlagInfoKind;

use super::read;
use crate::cli::{Completion, VERBS, Verb};
use crate::error::{Error, Result};
use crate::words;

/// Verbs for containers that run.
const FOR_RUNNING: [&str; 6] = ["attach", "exec", "kill", "pause", "stop", "top"];

/// What makes a script out of all verbs.
type Script = fn(&[Words]) -> String;

/// Shells, and what makes their script.
const SHELLS: [(&str, Script); 3] = [("bash", bash), ("zsh", zsh), ("fish", fish)];

/// The verb.
pub fn run(words: &[OsString]) -> Result<u8> {
    let Some((Completion {}, operands)) = read::<Completion>("completion", words)? else { return Ok(0) };
    let [shell] = operands.as_slice() else {
        return Err(Error::usage("say for which shell, one of bash, zsh, fish: ctr completion bash"));
    };
    let shell = shell.to_string_lossy();
    let Some((_, script)) = SHELLS.into_iter().find(|(name, _)| *name == shell) else {
        let near = words::nearest(&shell, SHELLS.iter().map(|(name, _)| *name));
        let advice = near.map_or(String::new(), |near| format!(", did you mean {near}?"));
        return Err(Error::usage(format_args!("unknown shell {shell:?}{advice} (it is bash, zsh or fish)")));
    };
    let known: Vec<Words> = VERBS.iter().map(Words::of).collect();
    super::print(&script(&known))?;
    Ok(0)
}

// ---- what there is to complete

/// A verb, its options and its operands.
struct Words {
    verb: &'static str,
    says: String,
    options: Vec<Opt>,
    /// One after the other.
    operands: Vec<Fits>,
    /// The last operand may stand there several times.
    repeats: bool,
}

struct Opt {
    long: String,
    short: Option<char>,
    says: String,
    value: Option<Fits>,
    /// It adds up.
    repeats: bool,
}

impl Opt {
    /// As they are typed: `--name`, `-n`.
    fn names(&self) -> Vec<String> {
        let mut names = vec![format!("--{}", self.long)];
        names.extend(self.short.map(|letter| format!("-{letter}")));
        names
    }
}

/// What may stand somewhere.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fits {
    /// What the help calls it.
    label: String,
    /// `file`, `dir`, `command`, `container`, `running`, or `+word` for a word itself.
    kinds: Vec<String>,
}

impl Fits {
    /// From the name of a value: alternatives between `|`, of which small letters stand for themselves. Of a larger name the
    /// first word says what it is: `SRC:DST[:ro]` is a file.
    fn read(name: &str, running: bool) -> Fits {
        let name = name.trim_end_matches(['…', '.']);
        let label = if name.starts_with('[') { name.trim_matches(['[', ']', '…', '.']) } else { name };
        let mut kinds: Vec<String> = Vec::new();
        for one in label.split('|') {
            if !one.is_empty() && one.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                kinds.push(format!("+{one}"));
                continue;
            }
            let word = one.split(|c: char| !c.is_ascii_uppercase()).find(|word| !word.is_empty());
            let found: &[&str] = match word {
                Some("FILE" | "SRC" | "DEST" | "ARG") => &["file"],
                Some("DIR") => &["dir"],
                Some("ROOT") => &["+host", "dir"],
                Some("COMMAND" | "PROGRAM") => &["command"],
                Some("CONTAINER") if running => &["running"],
                Some("CONTAINER") => &["container"],
                _ => &[],
            };
            kinds.extend(found.iter().map(|kind| (*kind).to_owned()));
        }
        Fits { label: label.to_owned(), kinds }
    }

    /// The kinds in one word, for bash; a dash for none.
    fn word(&self) -> String {
        if self.kinds.is_empty() { String::from("-") } else { self.kinds.join(",") }
    }
}

impl Words {
    fn of(verb: &Verb) -> Words {
        let info = (verb.info)();
        let running = FOR_RUNNING.contains(&verb.name);
        let mut options = vec![];
        for flag in info.flags.iter().filter(|flag| !flag.hidden && flag.long != "--help") {
            options.push(Opt {
                long: flag.long.trim_start_matches('-').to_owned(),
                short: flag.short,
                says: flag.description.to_owned(),
                value: match flag.kind {
                    FlagInfoKind::Switch => None,
                    FlagInfoKind::Option { arg_name } => Some(Fits::read(arg_name, running)),
                },
                repeats: flag.optionality == argh::Optionality::Repeating,
            });
        }
        let says = String::from("what can be typed here");
        options.push(Opt { long: String::from("help"), short: None, says, value: None, repeats: false });
        Words {
            verb: verb.name,
            says: info.description.to_owned(),
            options,
            operands: verb.operands.split_whitespace().map(|word| Fits::read(word, running)).collect(),
            repeats: verb.operands.contains('…') || verb.operands.contains("..."),
        }
    }
}

/// In single quotes, for bash and zsh.
fn single(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

// ---- bash

const BASH: &str = r#"# Completion of ctr's words in bash. For this shell:
#   source <(ctr completion bash)
# For every shell:
#   ctr completion bash > /etc/bash_completion.d/ctr

# Offers those lines of standard input that begin like the word being typed.
_ctr_matching() {
    local line
    while IFS= read -r line; do
        [[ $line != "$cur"* ]] || COMPREPLY+=("$line")
    done
}

# Offers what is of these kinds.
_ctr_offer() {
    local kind
    for kind in ${1//,/ }; do
        case $kind in
        file) compopt -o filenames 2>/dev/null; _ctr_matching < <(compgen -f -- "$cur") ;;
        dir) compopt -o filenames 2>/dev/null; _ctr_matching < <(compgen -d -- "$cur") ;;
        command) _ctr_matching < <(compgen -c -- "$cur") ;;
        container) _ctr_matching < <("$ctr" ps -a --format '{{.Names}}' 2>/dev/null) ;;
        running) _ctr_matching < <("$ctr" ps --format '{{.Names}}' 2>/dev/null) ;;
        +*) _ctr_matching <<< "${kind#+}" ;;
        esac
    done
}

_ctr() {
    local ctr=$1 cur=${COMP_WORDS[COMP_CWORD]} verb= option= plain= count=0 n word letters
    local options= values= operands=() repeats=
    COMPREPLY=()
    [[ $cur != = ]] || cur=
    for ((n = 1; n < COMP_CWORD; n++)); do
        word=${COMP_WORDS[n]}
        if [[ -z $verb ]]; then
            [[ $word == -* ]] || { verb=$word; _ctr_verb; }
        elif [[ -n $plain ]]; then
            count=$((count + 1))
        elif [[ -z ${word//[=:]/} ]]; then
            # Bash makes words of --name = value and /a : /b: what follows belongs to what was before.
            option=${option:--}
        elif [[ -n $option ]]; then
            option=
        elif [[ $word == -- ]]; then
            plain=1
        elif [[ $word == --* ]]; then
            [[ $values != *" $word:"* ]] || option=$word
        elif [[ $word == -?* ]]; then
            # The first of these letters that takes a value takes the rest for it, or the next word.
            for ((letters = 1; letters < ${#word}; letters++)); do
                [[ $values == *" -${word:letters:1}:"* ]] || continue
                ((letters + 1 < ${#word})) || option=-${word:letters:1}
                break
            done
        else
            plain=1 count=1
        fi
    done
    if [[ -z $verb ]]; then
        _ctr_matching <<< "$_ctr_verbs"
    elif [[ -n $option ]]; then
        [[ $values == *" $option:"* ]] || return 0
        word=${values#*" $option:"}
        _ctr_offer "${word%% *}"
    elif [[ -z $plain && $cur == -* ]]; then
        _ctr_matching <<< "${options// /$'\n'}"
    else
        if [[ -n $repeats ]] && ((count >= ${#operands[@]})); then
            count=$((${#operands[@]} - 1))
        fi
        _ctr_offer "${operands[count]:--}"
    fi
}

complete -F _ctr ctr

"#;

fn bash(known: &[Words]) -> String {
    let mut text = String::from(BASH);
    let verbs: Vec<&str> = known.iter().map(|words| words.verb).chain(["--help", "--version"]).collect();
    let _ = writeln!(text, "_ctr_verbs={}\n", single(&verbs.join("\n")));
    text.push_str("# What there is after a verb: options, what their values are, what the operands are.\n");
    text.push_str("_ctr_verb() {\n    case $verb in\n");
    for words in known {
        let mut options = Vec::new();
        let mut values = String::from(" ");
        for option in &words.options {
            for name in option.names() {
                if let Some(fits) = &option.value {
                    let _ = write!(values, "{name}:{} ", fits.word());
                }
                options.push(name);
            }
        }
        let operands: Vec<String> = words.operands.iter().map(|fits| single(&fits.word())).collect();
        let _ = writeln!(
            text,
            "    {})\n        options={}\n        values={}\n        operands=({})\n        repeats={}\n        ;;",
            words.verb,
            single(&options.join(" ")),
            single(&values),
            operands.join(" "),
            if words.repeats { "1" } else { "" },
        );
    }
    text.push_str("    esac\n}\n");
    text
}

// ---- zsh

const ZSH: &str = r#"#compdef ctr
# Completion of ctr's words in zsh. For this shell, after compinit:
#   source <(ctr completion zsh)
# For every shell, into a folder of $fpath:
#   ctr completion zsh > /usr/local/share/zsh/site-functions/_ctr

# Offers what is of these kinds.
_ctr_offer() {
    local kind expl ret=1
    local -a names
    for kind in "$@"; do
        names=()
        case $kind in
        (file) _files && ret=0 ;;
        (dir) _files -/ && ret=0 ;;
        (command) _command_names -e && ret=0 ;;
        (container) names=(${(f)"$($ctr ps -a --format '{{.Names}}' 2>/dev/null)"}) ;;
        (running) names=(${(f)"$($ctr ps --format '{{.Names}}' 2>/dev/null)"}) ;;
        (+*) names=("${kind#+}") ;;
        esac
        (( $#names )) && _wanted words expl "${kind#+}" compadd -a names && ret=0
    done
    return ret
}

"#;

fn zsh(known: &[Words]) -> String {
    let mut text = String::from(ZSH);
    text.push_str("_ctr() {\n    local ctr=$words[1] curcontext=$curcontext\n    local -a verbs\n");
    text.push_str("    if (( CURRENT == 2 )); then\n        verbs=(\n");
    for words in known {
        let _ = writeln!(text, "            {}", single(&format!("{}:{}", words.verb, escaped(&words.says, ":"))));
    }
    text.push_str("        )\n        [[ $PREFIX == -* ]] && verbs=('--help:what can be typed' '--version:which ctr this is')\n");
    text.push_str("        _describe -t commands verb verbs\n        return\n    fi\n");
    text.push_str("    local verb=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $verb in\n");
    for words in known {
        let _ = write!(text, "    ({})\n        _arguments -s -S -A '-*' :", words.verb);
        for option in &words.options {
            let _ = write!(text, " \\\n            {}", zsh_option(option));
        }
        for (n, fits) in words.operands.iter().enumerate() {
            let last = words.repeats && n + 1 == words.operands.len();
            let place = if last { String::from("*") } else { (n + 1).to_string() };
            let _ = write!(text, " \\\n            {}", single(&format!("{place}{}", zsh_value(fits))));
        }
        text.push_str("\n        ;;\n");
    }
    text.push_str("    esac\n}\n\n");
    text.push_str("# Loaded by itself, this file is the function; sourced, it only has to be made known.\n");
    text.push_str("if [[ $funcstack[1] == _ctr ]]; then\n    _ctr \"$@\"\nelse\n    compdef _ctr ctr\nfi\n");
    text
}

/// With a backslash before each of these characters.
fn escaped(text: &str, special: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\\' || special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// `'(-i --interactive)'{-i,--interactive}'[keep …]'`
fn zsh_option(option: &Opt) -> String {
    let names = option.names();
    let once = if option.repeats { String::from("*") } else { format!("({})", names.join(" ")) };
    let typed: Vec<String> = match &option.value {
        None => names,
        // As the next word, or in the same one.
        Some(_) => {
            names.iter().map(|name| format!("{name}{}", if name.starts_with("--") { '=' } else { '+' })).collect()
        }
    };
    let says = format!("[{}]", escaped(&option.says, "[]:"));
    let value = option.value.as_ref().map_or(String::new(), zsh_value);
    match typed.as_slice() {
        [only] => single(&format!("{once}{only}{says}{value}")),
        _ => format!("{}{{{}}}{}", single(&once), typed.join(","), single(&(says + &value))),
    }
}

/// `:LABEL: action`; the blank says that the action wants no arguments of zsh's.
fn zsh_value(fits: &Fits) -> String {
    let label = escaped(&fits.label, ":");
    if fits.kinds.is_empty() {
        format!(":{label}: ")
    } else {
        format!(":{label}: _ctr_offer {}", fits.kinds.join(" "))
    }
}

// ---- fish

const FISH: &str = r#"# Completion of ctr's words in fish. For this shell:
#   ctr completion fish | source
# For every shell:
#   ctr completion fish > ~/.config/fish/completions/ctr.fish

function __ctr_at_verb
    test (count (commandline -opc)) -eq 1
end

# The ctr that is being typed.
function __ctr_names
    set -l words (commandline -opc)
    $words[1] ps $argv --format '{{.Names}}' 2>/dev/null
end

# Whether we are at this place after this verb: `options`, the operand N (from 0), or N+ for that and all that follow.
function __ctr_is
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test "$words[2]" = "$argv[1]"; or return 1
    set -e words[1..2]
    set -l values (__ctr_values $argv[1])
    set -l operands 0
    set -l plain 0
    set -l value 0
    for word in $words
        if test $plain -eq 1
            set operands (math $operands + 1)
        else if test $value -eq 1
            set value 0
        else if test "$word" = --
            set plain 1
        else if string match -q -- '--*' "$word"
            contains -- "$word" $values; and set value 1
        else if string match -q -- '-?*' "$word"
            # The first of these letters that takes a value takes the rest for it, or the next word.
            set -l letters (string split '' -- (string sub -s 2 -- "$word"))
            for n in (seq (count $letters))
                if contains -- "-$letters[$n]" $values
                    test $n -eq (count $letters); and set value 1
                    break
                end
            end
        else
            set plain 1
            set operands 1
        end
    end
    switch $argv[2]
        case options
            test $plain -eq 0
        case '*+'
            test $operands -ge (string replace + '' $argv[2])
        case '*'
            test $operands -eq $argv[2]
    end
end

"#;

fn fish(known: &[Words]) -> String {
    let mut text = String::from(FISH);
    text.push_str("# Options of a verb that take values.\nfunction __ctr_values\n    switch $argv[1]\n");
    for words in known {
        let values = words.options.iter().filter(|option| option.value.is_some()).flat_map(Opt::names);
        let lines: Vec<String> = values.collect();
        if !lines.is_empty() {
            let _ =
                writeln!(text, "        case {}\n            string split ' ' -- '{}'", words.verb, lines.join(" "));
        }
    }
    text.push_str("    end\nend\n\ncomplete -c ctr -f\n");
    text.push_str("complete -c ctr -n __ctr_at_verb -l help -d 'what can be typed'\n");
    text.push_str("complete -c ctr -n __ctr_at_verb -l version -d 'which ctr this is'\n");
    for words in known {
        let verb = words.verb;
        let _ = writeln!(text, "\ncomplete -c ctr -n __ctr_at_verb -a {verb} -d {}", quoted(&words.says));
        for option in &words.options {
            let short = option.short.map_or(String::new(), |letter| format!(" -s {letter}"));
            let value = option.value.as_ref().map_or(String::new(), |fits| {
                let files = if fits.kinds.iter().any(|kind| kind == "file") { " -F" } else { " -f" };
                format!(" -r{files}{}", fish_offer(fits))
            });
            let says = quoted(&option.says);
            let _ = writeln!(
                text,
                "complete -c ctr -n '__ctr_is {verb} options'{short} -l {}{value} -d {says}",
                option.long
            );
        }
        for (n, fits) in words.operands.iter().enumerate().filter(|(_, fits)| !fits.kinds.is_empty()) {
            let more = if words.repeats && n + 1 == words.operands.len() { "+" } else { "" };
            let files = if fits.kinds.iter().any(|kind| kind == "file") { " -F" } else { "" };
            let _ = writeln!(text, "complete -c ctr -n '__ctr_is {verb} {n}{more}'{files}{}", fish_offer(fits));
        }
    }
    text
}

/// `-a 'words (and functions)'`, or nothing where files are all.
fn fish_offer(fits: &Fits) -> String {
    let offers: Vec<&str> = fits
        .kinds
        .iter()
        .filter_map(|kind| match kind.as_str() {
            "file" => None,
            "dir" => Some("(__fish_complete_directories (commandline -ct))"),
            "command" => Some("(__fish_complete_command)"),
            "container" => Some("(__ctr_names -a)"),
            "running" => Some("(__ctr_names)"),
            word => word.strip_prefix('+'),
        })
        .collect();
    if offers.is_empty() { String::new() } else { format!(" -a {}", quoted(&offers.join(" "))) }
}

/// In single quotes, for fish.
fn quoted(text: &str) -> String {
    format!("'{}'", escaped(text, "'"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use argh::ArgsInfo;

    use super::*;
    use crate::cli::{Doctor, Run};

    /// All that ctr has, and verbs of other shapes.
    fn known() -> Vec<Words> {
        let more = [
            Verb { name: "stop", operands: "CONTAINER…", command: false, info: Doctor::get_args_info },
            Verb { name: "rm", operands: "CONTAINER [CONTAINER...]", command: false, info: Doctor::get_args_info },
            Verb { name: "exec", operands: "CONTAINER COMMAND [ARG…]", command: false, info: Run::get_args_info },
            Verb { name: "load", operands: "FILE", command: false, info: Doctor::get_args_info },
        ];
        VERBS.iter().chain(&more).map(Words::of).collect()
    }

    /// What bash would offer for the last of these words.
    fn offered(words: &[&str]) -> Vec<String> {
        let stub = r#"
            ctr() { case "$*" in
                "ps -a --format {{.Names}}") printf 'web\nold-web\ndb\n' ;;
                "ps --format {{.Names}}") printf 'web\ndb\n' ;;
            esac; }
            COMP_WORDS=(ctr "$@") COMP_CWORD=$#
            _ctr ctr "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let output = Command::new("bash")
            .args(["--norc", "--noprofile", "-u", "-c", &(bash(&known()) + stub), "bash"])
            .args(words)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    fn has(name: &str) -> bool {
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).exists()))
    }

    #[test]
    fn shells_can_read_them() {
        for (shell, script) in SHELLS {
            if !has(shell) {
                continue;
            }
            let mut child =
                Command::new(shell).arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(script(&known()).as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert_eq!(
                (String::from_utf8_lossy(&output.stderr).as_ref(), output.status.success()),
                ("", true),
                "{shell}"
            );
        }
    }

    #[test]
    fn bash_completes_verbs_and_options() {
        if !has("bash") {
            return;
        }
        assert_eq!(offered(&["ru"]), ["run"]);
        assert!(offered(&[""]).len() >= VERBS.len() + 2);
        assert_eq!(offered(&["--v"]), ["--version"]);
        assert_eq!(offered(&["run", "--ho"]), ["--hostname"]);
        assert_eq!(offered(&["run", "-"]).len(), known()[0].options.iter().flat_map(Opt::names).count());
        assert_eq!(offered(&["run", "-it", "--rm", "--hel"]), ["--help"]);
        assert_eq!(offered(&["doctor", "--fo"]), ["--format"]);
        assert_eq!(offered(&["nonsense", "-"]), [""; 0]);
        // The command's own.
        assert_eq!(offered(&["run", "host", "ls", "--ho"]), [""; 0]);
        assert_eq!(offered(&["run", "--", "--ho"]), [""; 0]);
    }

    #[test]
    fn bash_completes_values() {
        if !has("bash") {
            return;
        }
        for line in [
            &["run", "--userns", ""][..],
            &["run", "--userns", "=", ""],
            &["run", "--userns", "="],
            &["run", "--rm", "--userns", ""],
        ] {
            assert_eq!(offered(line), ["auto", "required", "host"], "{line:?}");
        }
        assert_eq!(offered(&["run", "--userns", "=", "h"]), ["host"]);
        assert_eq!(offered(&["doctor", "--format", "j"]), ["json"]);
        assert_eq!(offered(&["run", "--rootfs", "ro"]), ["root"]);
        assert_eq!(offered(&["run", "-itv", "ro"]), ["root"]);
        assert_eq!(offered(&["run", "--env-file", "root/ma"]), ["root/main.rs"]);
        assert_eq!(offered(&["run", "--name", ""]), [""; 0]);
        // What belongs together though bash takes it apart.
        for before in [
            &["-e", "A", "=", "b"][..],
            &["-eA", "=", "b"],
            &["--env", "=", "A", "=", "b"],
            &["-v", "/a", ":", "/b", ":", "ro"],
            &["--rm", "=", "true"],
        ] {
            let line = [&["run"], before, &["--ho"]].concat();
            assert_eq!(offered(&line), ["--hostname"], "{line:?}");
            assert_eq!(offered(&[&["run"], before, &["ho"]].concat()), ["host"]);
        }
    }

    #[test]
    fn bash_completes_operands() {
        if !has("bash") {
            return;
        }
        assert_eq!(offered(&["run", "h"]), ["host"]);
        assert_eq!(offered(&["run", "ro"]), ["root"]);
        assert!(offered(&["run", "-it", "host", "bas"]).contains(&String::from("bash")));
        assert_eq!(offered(&["run", "host", "ls", "-l", "root/ma"]), ["root/main.rs"]);
        assert_eq!(offered(&["completion", ""]), ["bash", "zsh", "fish"]);
        assert_eq!(offered(&["completion", "bash", ""]), [""; 0]);
        assert_eq!(offered(&["doctor", ""]), offered(&["stats", ""]));
        assert_eq!(offered(&["stop", ""]), ["web", "db"]);
        assert_eq!(offered(&["stop", "web", "db", "w"]), ["web"]);
        assert_eq!(offered(&["rm", "x", "y", ""]), ["web", "old-web", "db"]);
        assert_eq!(offered(&["rm", "old"]), ["old-web"]);
        assert_eq!(offered(&["exec", "-u", "0", "d"]), ["db"]);
        assert_eq!(offered(&["load", "root/ma"]), ["root/main.rs"]);
    }

    #[test]
    fn names_of_values_say_what_fits() {
        let kinds = |name: &str| Fits::read(name, false).kinds.join(",");
        let expected = [
            ("FILE", "file"),
            ("[DIR]", "dir"),
            ("SRC:DST[:ro]", "file"),
            ("DST[:OPTS]", ""),
            ("auto|host", "+auto,+host"),
            ("none|CONTAINER", "+none,container"),
            ("CONTAINER…", "container"),
            ("CONTAINER:SRC|-", "container,+-"),
            ("[COMMAND", "command"),
            ("KEY=VALUE", ""),
            ("", ""),
        ];
        for (name, kind) in expected {
            assert_eq!(kinds(name), kind, "{name}");
        }
        assert_eq!(Fits::read("CONTAINER", true).kinds, ["running"]);
    }

    #[test]
    fn every_option_is_in_every_script() {
        for (shell, script) in SHELLS {
            let text = script(&known());
            for words in known() {
                assert!(text.contains(words.verb));
                for option in words.options {
                    assert!(text.contains(&option.long), "{shell}: {}", option.long);
                }
            }
        }
    }
}
