//! `--format '{{.Names}}'`: the part of Go's text/template that users of Docker type.
//!
//! `parse.rs` reads the text into the tree below by recursive descent, `render.rs` walks that tree with a value of `json.rs`
//! as dot, `functions.rs` has what can be called. There are fields, functions, pipes, parentheses, variables, `if`, `with`,
//! `range`, comments and the blanks that `{{-` and `-}}` take away. There is no `define`, `template` or `block`, no `break`,
//! and no fractions.
//!
//! What differs from Go:
//! - An unknown field is always an error, with the nearest one; capitals do not matter where only one field fits.
//! - `\t` and `\n` outside of braces are a tab and a newline (`docker ps` does that, `docker inspect` does not).
//! - `.Label "x"`, a method of Docker's rows, looks "x" up in a map that is handed in beside the row ([`Template::row`]).
//!
//! The text is the user's, and values may hold what an image says: nothing here panics, and length, depth, work and output
//! are limited. Errors name the column, counted in characters from 1.

mod functions;
mod parse;
mod render;

use rootfs::json::Value;

use crate::error::{Error, Result};
use functions::Function;
use render::Render;

/// The longest template, in bytes.
const LONGEST: usize = 64 << 10;

/// How deep blocks and parentheses may stand in each other.
const DEEPEST: usize = 64;

/// The most that one rendering may make, in bytes.
const LARGEST: usize = 16 << 20;

/// How much work one rendering may be: calls, turns of a range, elements made, and bytes made (32 count as one).
const WORK: usize = 1_000_000;

/// The most elements that split may make.
const MOST: usize = 100_000;

/// The widest field of printf and pad.
const WIDEST: usize = 1000;

/// A template, read and found to be one.
#[derive(Debug)]
pub struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug)]
enum Node {
    Text(String),
    Print(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range(Range),
}

#[derive(Debug)]
struct Range {
    column: usize,
    /// None, the element's, or the key's and the element's.
    variables: Vec<String>,
    over: Pipe,
    body: Vec<Node>,
    /// If there is no element.
    otherwise: Vec<Node>,
}

/// Calls, each of which gets the result of the one before it as its last argument.
#[derive(Debug)]
struct Pipe {
    /// The variable that keeps the result, and whether it is a new one.
    keep: Option<(String, bool)>,
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    first: Term,
    arguments: Vec<Term>,
}

#[derive(Debug)]
struct Term {
    column: usize,
    base: Base,
    /// `.A.B` after it.
    fields: Vec<String>,
}

#[derive(Debug)]
enum Base {
    Dot,
    Variable(String),
    Constant(Value),
    Function(Function),
    Group(Pipe),
}

fn wrong(column: usize, what: impl std::fmt::Display) -> Error {
    Error::usage(format_args!("bad --format, column {column}: {what}"))
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Template> {
        if text.len() > LONGEST {
            return Err(Error::usage(format_args!("bad --format: it is longer than {} KiB", LONGEST >> 10)));
        }
        parse::parse(text).map(|nodes| Template { nodes })
    }

    /// The text, with this value as dot.
    pub fn render(&self, value: &Value) -> Result<String> {
        Render::new(value, &Value::Null, false).all(&self.nodes)
    }

    /// The text of a row. `methods` has a map for each name that can be called: `{{.Label "x"}}` is what its map "Label" has
    /// for "x", or nothing.
    pub fn row(&self, row: &Value, methods: &Value) -> Result<String> {
        Render::new(row, methods, false).all(&self.nodes)
    }

    /// The text that stands above rows, from the names of columns: functions leave them as they are, lists are one, every `if`
    /// is true. What still is an error, an unknown field, would be one in every row.
    pub fn header(&self, names: &Value) -> Result<String> {
        Render::new(names, &Value::Null, true).all(&self.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `inspect` has it.
    fn container() -> Value {
        let text = |texts: &[&str]| Value::from(texts.to_vec());
        Value::map([
            ("Id", "0123456789abcdef".into()),
            ("Name", "/web".into()),
            ("State", Value::map([("Status", "running".into()), ("Pid", 42_u32.into()), ("Running", true.into())])),
            ("Health", Value::Null),
            (
                "Config",
                Value::map([
                    ("Env", text(&["PATH=/bin", "A=b=c"])),
                    ("Labels", Value::map([("z.y-x", "1".into()), ("a", "b".into())])),
                    ("Cmd", text(&[])),
                ]),
            ),
            (
                "Mounts",
                Value::List(vec![
                    Value::map([("Source", "/srv".into()), ("RW", true.into())]),
                    Value::map([("Source", "/x".into()), ("RW", false.into())]),
                ]),
            ),
            (
                "Ports",
                Value::map([
                    ("80/tcp", Value::List(vec![Value::map([("HostPort", "8080".into())])])),
                    ("443/tcp", Value::Null),
                ]),
            ),
            ("Exit", Value::Int(-1)),
            ("Size", Value::Uint(u64::MAX)),
        ])
    }

    fn render(template: &str) -> String {
        match Template::parse(template).and_then(|template| template.render(&container())) {
            Ok(text) => text,
            Err(error) => panic!("{template}: {error}"),
        }
    }

    fn mistake(template: &str) -> String {
        let result = Template::parse(template).and_then(|template| template.render(&container()));
        let line = result.expect_err(template).to_string();
        assert!(!line.contains('\n'), "{line}");
        line.strip_prefix("bad --format, column ").unwrap_or(&line).to_owned()
    }

    #[track_caller]
    fn all(pairs: &[(&str, &str)]) {
        for (template, expected) in pairs {
            assert_eq!(render(template), *expected, "{template}");
        }
    }

    #[track_caller]
    fn mistakes(pairs: &[(&str, &str)]) {
        for (template, expected) in pairs {
            assert_eq!(mistake(template), *expected, "{template}");
        }
    }

    #[test]
    fn fields() {
        all(&[
            ("", ""),
            ("plain } text {", "plain } text {"),
            ("{{.Name}}", "/web"),
            ("{{ .State.Status }} {{.State.Pid}} {{.State.Running}}", "running 42 true"),
            (r"{{.Id}}\t{{.Name}}\n", "0123456789abcdef\t/web\n"),
            ("{{.ID}} {{.id}} {{.state.PID}}", "0123456789abcdef 0123456789abcdef 42"),
            ("{{$.Name}}{{$.State.Pid}}", "/web42"),
            ("{{.Exit}} {{.Size}}", "-1 18446744073709551615"),
            ("{{.Health}}", "<no value>"),
            ("{{.Config.Env}} {{.Config.Labels}} {{.Config.Cmd}}", "[PATH=/bin A=b=c] map[a:b z.y-x:1] []"),
            ("{{.Mounts}}", "[map[RW:true Source:/srv] map[RW:false Source:/x]]"),
            ("{{\"a\\tb\\x41\\u00e9\\\"\"}}{{`a\\t`}}{{5}}{{-5}}{{true}}", "a\tbAé\"a\\t5-5true"),
        ]);
    }

    #[test]
    fn functions() {
        all(&[
            ("{{json .State}}", r#"{"Status":"running","Pid":42,"Running":true}"#),
            (
                "{{.State | json}} {{json .Health}} {{json .Name}}",
                r#"{"Status":"running","Pid":42,"Running":true} null "/web""#,
            ),
            ("{{index .Config.Env 0}} {{index .Config.Env 1}}", "PATH=/bin A=b=c"),
            (r#"{{index .Config.Labels "z.y-x"}}|{{index .Config.Labels "no"}}|"#, "1||"),
            (r#"{{(index (index .Ports "80/tcp") 0).HostPort}}"#, "8080"),
            (r#"{{(index .Ports "80/tcp" 0).HostPort}} {{index .Ports "no"}}"#, "8080 <no value>"),
            ("{{len .Config.Env}} {{len .Name}} {{len .Config.Labels}} {{len .Health}}", "2 4 2 0"),
            ("{{upper .Name}} {{.State.Status | upper | lower | title}}", "/WEB Running"),
            (r#"{{join .Config.Env ","}}|{{join .Config.Cmd ","}}"#, "PATH=/bin,A=b=c|"),
            (r#"{{index (split .Name "/") 1}} {{split "aé" ""}}"#, "web [a é]"),
            (
                r#"{{printf "%s is %d %v %q %t %%" .Name .State.Pid .Exit .Name .State.Running}}"#,
                "/web is 42 -1 \"/web\" true %",
            ),
            (
                r#"[{{printf "%6s|%-6s|%.2s|%04d|%-4d" .Name .Name .Name .State.Pid 7}}]"#,
                "[  /web|/web  |/w|0042|7   ]",
            ),
            (r#"{{printf "%v %q" .Config.Env .Config.Env}}"#, r#"[PATH=/bin A=b=c] ["PATH=/bin","A=b=c"]"#),
            (r#"{{.Name | printf "%s-%s" "a"}}"#, "a-/web"),
            (
                "{{slice .Id 0 12}} {{slice .Id 12}} {{truncate .Id 4}} {{truncate .Name 99}}",
                "0123456789ab cdef 0123 /web",
            ),
            (r#"[{{pad .Name 1 2}}]{{pad "" 1 1}}"#, "[ /web  ]"),
            (r#"{{print 1 2 "a" "b" 3}}|{{println "a" 1}}{{print}}"#, "1 2ab3|a 1\n"),
            ("{{eq 1 1}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge 1 2}}", "true true true true false false"),
            (
                r#"{{eq .State.Pid 1 42}} {{eq .Name "x"}} {{eq .Health nil}} {{eq .Size .Exit}}"#,
                "true false true false",
            ),
            (
                "{{and .Name .Exit}} {{and .Name .Health}} {{or .Health .Name}} {{or .Health 0}} {{not .Name}}",
                "-1 <no value> /web 0 false",
            ),
            // What needs not be looked at is not.
            ("{{or .Name .Nonsense}} {{and .Health .Nonsense}}", "/web <no value>"),
        ]);
    }

    #[test]
    fn conditions_and_ranges() {
        all(&[
            ("{{if .Name}}yes{{end}}{{if .Health}}no{{else}}none{{end}}{{if .Config.Cmd}}no{{end}}", "yesnone"),
            (r#"{{if eq .State.Status "exited"}}a{{else if eq .State.Status "running"}}b{{else}}c{{end}}"#, "b"),
            ("{{if and (eq .State.Pid 42) (not .Health)}}both{{end}}", "both"),
            ("{{if false}}a{{else if false}}b{{else if false}}c{{else}}d{{end}}", "d"),
            ("{{range .Mounts}}{{.Source}} {{end}}", "/srv /x "),
            ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}},{{.RW}};{{end}}", "0=/srv,true;1=/x,false;"),
            ("{{range $m := .Mounts}}{{$m.Source}}{{$.Exit}}{{end}}", "/srv-1/x-1"),
            ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{println}}{{end}}", "a=b\nz.y-x=1\n"),
            ("{{range .Config.Cmd}}x{{else}}none{{end}}{{range .Health}}x{{end}}", "none"),
            (
                "{{range $p, $c := .Ports}}{{$p}}->{{if $c}}{{(index $c 0).HostPort}}{{else}}-{{end}} {{end}}",
                "443/tcp->- 80/tcp->8080 ",
            ),
            (r#"{{range $v := .Config.Env}}{{if eq (index (split $v "=") 0) "A"}}{{$v}}{{end}}{{end}}"#, "A=b=c"),
            (r#"{{range $i, $e := split "a,b" ","}}{{if $i}};{{end}}{{$e}}{{end}}"#, "a;b"),
            ("{{with .State}}{{.Pid}}{{end}}{{with .Health}}x{{else}}{{.Name}}{{end}}", "42/web"),
            ("{{with $s := .State}}{{$s.Pid}}{{.Pid}}{{end}}", "4242"),
            ("{{with .Health}}x{{else with .Name}}{{.}}{{end}}", "/web"),
            ("{{$x := .Name}}{{$x}}{{$x = \"b\"}}{{$x}}", "/webb"),
            ("{{$n := 1}}{{range .Mounts}}{{$n = .Source}}{{end}}{{$n}}", "/x"),
            ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
            ("{{if $x := .Name}}{{$x}}{{else}}{{$x}}{{end}}", "/web"),
        ]);
    }

    #[test]
    fn blanks_and_comments() {
        all(&[
            ("a  {{- .Exit -}}  b", "a-1b"),
            ("a  {{.Exit}}  b", "a  -1  b"),
            ("a {{- /* a }} comment */ -}} b{{/**/}}c", "abc"),
            (r"a\n{{- if true}} \t b {{end -}} \n c", "a \t b c"),
            ("{{- 3 -}}", "3"),
            ("{{-3}}", "-3"),
            ("{{\n\t.Name\n}}", "/web"),
        ]);
    }

    #[test]
    fn methods_of_rows() {
        let row = Value::map([("Labels", "a=b,c=d".into()), ("Map", Value::map([("k", "v".into())]))]);
        let methods = Value::map([("Label", Value::map([("a", "b".into())]))]);
        let template = Template::parse(
            r#"{{.Label "a"}}|{{.Label "x"}}|{{.Labels}}|{{$.Label "a"}}|{{.Map "k"}}|{{if .Label "a"}}y{{end}}"#,
        );
        assert_eq!(template.unwrap().row(&row, &methods).unwrap(), "b||a=b,c=d|b|v|y");
        let line = |text| Template::parse(text).and_then(|t| t.row(&row, &methods)).unwrap_err().to_string();
        assert!(line(r#"{{.Labels "a"}}"#).contains(".Labels takes no arguments"));
        assert!(line("{{.Label 3}}").contains("a method one string"));
        assert!(line(r#"{{.Lable "x"}}"#).contains("unknown field .Lable, did you mean .Labels?"));
    }

    #[test]
    fn headers_survive_functions() {
        let names = Value::map([("ID", "CONTAINER ID".into()), ("Mounts", "MOUNTS".into())]);
        let header = |text| Template::parse(text).unwrap().header(&names).unwrap();
        assert_eq!(header(r"{{lower .ID}}\t{{.Mounts | json}}\t{{len .Mounts}}"), "CONTAINER ID\tMOUNTS\tMOUNTS");
        assert_eq!(
            header(r#"{{.Label "com.x.my-role"}} {{join .Mounts ","}} {{slice .ID 0 3}}"#),
            "my role MOUNTS CONTAINER ID"
        );
        assert_eq!(
            header("{{range .Mounts}}{{.Source}}{{end}}{{if lt 3 .ID}}{{(index .Mounts 7).X}}{{end}}"),
            "SOURCEX"
        );
        assert_eq!(header(r#"{{printf "%-8s|%d" .Mounts .ID}}"#), r"%-8s|%d");
        assert!(Template::parse("{{.Nope}}").unwrap().header(&names).is_err());
    }

    #[test]
    fn mistakes_say_where_and_what() {
        mistakes(&[
            ("{{.Nmae}}", "3: unknown field .Nmae, did you mean .Name?"),
            ("ab{{.State.Statis}}", "5: unknown field .Statis, did you mean .Status?"),
            ("{{.State.Qqqq}}", "3: unknown field .Qqqq (known: Status Pid Running)"),
            ("{{.Name.X}}", "3: text has no field .X"),
            ("{{.Health.Status}}", "3: nothing (null) has no field .Status"),
            ("{{.Name", "8: it ends within braces: }} is missing"),
            ("{{", "3: it ends within braces: }} is missing"),
            ("{{}}", "3: something is missing here: a field such as .Name, or a function"),
            ("{{.Name | }}", "11: something is missing here: a field such as .Name, or a function"),
            ("{{uper .Name}}", "3: unknown function uper, did you mean upper?"),
            ("{{Name}}", "3: unknown function Name, did you mean .Name?"),
            ("{{if .Name}}a", "1: {{if}} without an {{end}}"),
            ("{{range .Name}}a{{else}}", "1: {{range}} without an {{end}}"),
            ("a{{end}}", "2: {{end}} of nothing"),
            ("{{else}}", "1: {{else}} of nothing"),
            ("{{if 1}}{{else}}{{else}}{{end}}", "17: a second {{else}}"),
            ("{{template \"x\"}}", "1: ctr's templates have no template"),
            ("{{\"abc}}", "3: this string does not end: \" is missing"),
            ("{{/* abc}}", "1: this comment does not end: */ is missing"),
            (r#"{{"\z"}}"#, r#"4: a string may have \n \t \r \" \\ \xHH and \uHHHH"#),
            ("{{1.5}}", "3: 1.5 is no whole number"),
            ("{{99999999999999999999}}", "3: 99999999999999999999 is no whole number"),
            ("{{$x}}", "3: unknown variable $x"),
            ("{{if $x := 1}}{{end}}{{$x}}", "24: unknown variable $x"),
            ("{{.Name | .Id}}", "11: a function should follow |"),
            ("{{(.Name) 3}}", "3: this is no function, and cannot take arguments"),
            ("{{.Name 3}}", "3: a field takes no arguments, and a method one string"),
            (r#"{{.Name "x"}}"#, "3: .Name takes no arguments"),
            ("{{len}}", "3: len takes 1 argument(s), and gets 0"),
            ("{{.Name | join}}", "11: join takes 2 argument(s), and gets 1"),
            ("{{slice .Id 1 2 3}}", "3: slice takes 1 to 3 argument(s), and gets 4"),
            ("{{eq 1}}", "3: eq takes 2 or more argument(s), and gets 1"),
            ("{{eq 1 upper}}", "8: upper takes text, not nothing (null) (put it in parentheses)"),
            ("{{index .Config.Env 9}}", "3: index: there is no 9 in a list of 2 (they count from 0)"),
            ("{{index .Config.Env \"a\"}}", "3: index: a list takes a number from 0 on, not text"),
            ("{{index .Name 0}}", "3: index finds nothing in text by a number"),
            ("{{upper .State}}", "3: upper takes text, not a map"),
            ("{{join .Name \",\"}}", "3: join: a list comes first, not text"),
            ("{{eq .Name 3}}", "3: eq cannot compare text with a number"),
            ("{{slice .Id 5 99}}", "3: slice: there is no 5 to 99 in 16 bytes"),
            ("{{slice .Id 5 2}}", "3: slice: there is no 5 to 2 in 16 bytes"),
            ("{{len .Exit}}", "3: len: a number has no length"),
            ("{{range .Name}}{{end}}", "1: range goes over lists and maps, not over text"),
            (r#"{{printf "%d" .Name}}"#, "3: printf: %d takes a number, not text"),
            (r#"{{printf "%s"}}"#, "3: printf: fewer values than % in its format"),
            (r#"{{printf "" 1}}"#, "3: printf: more values than % in its format"),
            (r#"{{printf "%99999999999999999999s" 1}}"#, "3: printf: 1000 characters at most"),
            (r#"{{printf "%"}}"#, "3: printf knows %s %v %d %q %t and %%"),
            (
                "{{.Config.Labels.z-y}}",
                "19: '-' cannot stand here, names with it are found by index: {{index .Labels \"a-b\"}}",
            ),
        ]);
    }

    #[test]
    fn limits() {
        let text = |template: &str| mistake(template);
        assert!(text(&"x".repeat(LONGEST + 1)).contains("longer than 64 KiB"));
        assert!(text(&"{{if 1}}".repeat(1000)).contains("levels deep"));
        assert!(text(&format!("{{{{{}", "(".repeat(1000))).contains("levels deep"));
        assert!(text(&"{{if 1}}{{else if 1}}".repeat(500)).contains("levels deep"));
        assert!(text(r#"{{pad "x" 1000000000 0}}"#).contains("1000 at most"));
        // Each round doubles, or has twice the turns of the one before.
        let doubled = format!("{{{{$x := \"ab\"}}}}{}", "{{$x = print $x $x}}".repeat(60));
        assert!(text(&doubled).contains("too much"));
        let turns = format!("{}x{}", "{{range $.Mounts}}".repeat(40), "{{end}}".repeat(40));
        assert!(text(&turns).contains("too much"));
        let list = format!(
            "{{{{$x := split \"{}\" \"\"}}}}{}",
            "a".repeat(1000),
            "{{range $x}}".repeat(5) + "{{end}}{{end}}{{end}}{{end}}{{end}}"
        );
        assert!(text(&list).contains("too much"));
        // A value that was made is copied with each use.
        let copies =
            format!("{{{{$x := split \"{}\" \"\"}}}}{}", "a".repeat(30_000), "{{range $x}}{{len $x}}{{end}}");
        assert!(text(&copies).contains("too much"));
        let many = format!("{{{{$x := \"ab\"}}}}{}{{{{len (split $x \"a\")}}}}", "{{$x = print $x $x}}".repeat(17));
        assert!(text(&many).contains("split: more than 100000 parts"));
    }

    /// Whatever is typed, there is an answer.
    #[test]
    fn no_text_ends_it() {
        const PIECES: [&str; 64] = [
            "{{",
            "}}",
            "{{-",
            "-}}",
            "{{- ",
            " -}}",
            " ",
            ".",
            ".Name",
            ".State",
            ".Status",
            ".Config.Env",
            ".Mounts",
            ".Ports",
            ".Nope",
            "$",
            "$x",
            "$y",
            ":=",
            "=",
            ",",
            "|",
            "(",
            ")",
            "\"",
            "\"a\"",
            "`",
            "\\",
            "\\t",
            "\\n",
            "0",
            "-1",
            "7",
            "999",
            "if ",
            "else",
            "end",
            "range ",
            "with ",
            "{{end}}",
            "{{else}}",
            "{{if .Name}}",
            "{{range .Mounts}}",
            "json ",
            "index ",
            "len ",
            "upper ",
            "join ",
            "split ",
            "printf ",
            "\"%5s%-3d%.2v%q\"",
            "eq ",
            "and ",
            "not ",
            "slice ",
            "truncate ",
            "pad ",
            "print ",
            "/*",
            "*/",
            "é",
            "\u{2028}",
            "\0",
            "x",
        ];
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let data = container();
        let mut good = 0;
        for turn in 0..60_000 {
            let mut text = String::new();
            for _ in 0..=next(12) {
                // Every other one is braced, or few would be more than a first mistake.
                let braced = turn % 2 == 0;
                text.push_str(if braced { "{{" } else { "" });
                for _ in 0..next(5) {
                    text.push_str(PIECES[next(PIECES.len())]);
                }
                text.push_str(if braced { "}}" } else { "" });
            }
            if let Ok(template) = Template::parse(&text) {
                good += usize::from(template.render(&data).is_ok());
                let _ = template.row(&data, &data);
                let _ = template.header(&data);
            }
        }
        assert!(good > 500, "only {good} of these were templates");
    }
}
