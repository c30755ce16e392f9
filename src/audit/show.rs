//! Findings as people and as programs read them.

use std::fmt::Write;

use rootfs::json::Value;

use super::judge::{Finding, Verdict};
use super::parse::plain;

/// Where the findings stand: after the sign and the name.
const INDENT: usize = 17;
const WIDTH: usize = 112;

/// Who was looked at.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The container's name, or nothing.
    pub name: Option<String>,
    /// The process.
    pub pid: u32,
    /// What it is called.
    pub command: String,
}

fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings.iter().filter(|finding| finding.verdict == verdict).count()
}

/// A table, grouped; without what is good if `quiet`. The last line counts.
pub fn table(subject: &Subject, findings: &[Finding], quiet: bool) -> String {
    let mut text = String::new();
    let mut group = "";
    for finding in findings.iter().filter(|finding| !quiet || finding.verdict != Verdict::Good) {
        if finding.group != group {
            group = finding.group;
            let _ = writeln!(text, "{}{}", if text.is_empty() { "" } else { "\n" }, group.to_uppercase());
        }
        let _ = write!(text, "{} {:<width$}", finding.verdict.sign(), finding.name, width = INDENT - 2);
        fill(&mut text, "", &finding.found);
        let said = [
            ("asked: ", finding.asked.as_str()),
            ("why: ", if finding.verdict == Verdict::Good { "" } else { finding.why }),
        ];
        for (label, words) in said {
            // What is as it was asked for needs no more words.
            if !words.is_empty() && finding.verdict != Verdict::Good {
                let _ = write!(text, "{:INDENT$}", "");
                fill(&mut text, label, words);
            }
        }
    }
    let who = subject.name.as_deref().map_or(String::new(), |name| format!("{}, ", plain(name)));
    let _ = write!(
        text,
        "{}{who}process {} ({}): {} checks",
        if text.is_empty() { "" } else { "\n" },
        subject.pid,
        plain(&subject.command),
        findings.len()
    );
    for (verdict, word) in
        [(Verdict::Breach, "breached"), (Verdict::Weak, "weak"), (Verdict::Unseen, "not to be seen")]
    {
        let _ = write!(text, ", {} {word}", count(findings, verdict));
    }
    text.push('\n');
    text
}

/// Words from the third column on, in as many lines as they need. The first line is indented already.
fn fill(text: &mut String, label: &str, words: &str) {
    text.push_str(label);
    let mut column = INDENT + label.len();
    for (n, word) in words.split(' ').enumerate() {
        let length = word.chars().count();
        if n > 0 && column + 1 + length > WIDTH {
            let _ = write!(text, "\n{:INDENT$}  ", "");
            column = INDENT + 2;
        } else if n > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

/// One object, with all of them in a list.
pub fn json(subject: &Subject, findings: &[Finding], quiet: bool) -> String {
    let one = |finding: &Finding| {
        Value::map([
            ("Group", finding.group.into()),
            ("Check", finding.name.into()),
            ("Verdict", finding.verdict.word().into()),
            ("Found", finding.found.as_str().into()),
            ("Asked", finding.asked.as_str().into()),
            ("Why", finding.why.into()),
        ])
    };
    let number = |verdict: Verdict| Value::Uint(count(findings, verdict) as u64);
    let list = findings.iter().filter(|finding| !quiet || finding.verdict != Verdict::Good).map(one).collect();
    let value = Value::map([
        ("Container", subject.name.clone().into()),
        ("Pid", subject.pid.into()),
        ("Command", plain(&subject.command).into()),
        ("Breached", number(Verdict::Breach)),
        ("Weak", number(Verdict::Weak)),
        ("Unseen", number(Verdict::Unseen)),
        ("Findings", Value::List(list)),
    ]);
    value.indented() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(name: &'static str, verdict: Verdict, found: &str) -> Finding {
        Finding { group: "files", name, why: "because", verdict, found: found.into(), asked: "less".into() }
    }

    #[test]
    fn tables() {
        let subject = Subject { name: Some("web".into()), pid: 7, command: "sh\x1b[2J".into() };
        let all =
            [finding("root", Verdict::Good, "fine"), finding("host paths", Verdict::Breach, &"word ".repeat(60))];
        let text = table(&subject, &all, false);
        assert!(text.starts_with("FILES\n✓ root           fine\n✗ host paths     word word"), "{text}");
        assert!(text.contains("\n                 asked: less\n                 why: because\n"), "{text}");
        let last = "\nweb, process 7 (sh\\u{1b}[2J): 2 checks, 1 breached, 0 weak, 0 not to be seen\n";
        assert!(text.ends_with(last), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(!table(&subject, &all, true).contains("root"));
        assert_eq!(table(&subject, &all[..1], true).lines().count(), 1);
        let text = json(&subject, &all, true);
        assert!(
            text.contains("\"Breached\": 1")
                && text.contains("\"Verdict\": \"breach\"")
                && !text.contains("\"root\""),
            "{text}"
        );
    }
}
